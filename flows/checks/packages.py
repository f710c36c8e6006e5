"""Whether the packages are there in the versions this project was released with."""

import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement

from flows.checks.verdicts import Finding
from flows.checks.work import Work

_INSTALL = "install the project again in its environment: `pip install -e .`"
_EXTRAS = {
    "ability": ("ability", ("lm_eval",)),
    "ifbench": ("bench", ("emoji", "syllapy")),
    "multi_if": ("multilingual", ("emoji",)),
}


def check_packages(work: Work) -> Iterator[Finding]:
    """Every package of the project, and those of the extras that the work needs."""
    try:
        wanted = [Requirement(text) for text in requires("spar") or ()]
    except PackageNotFoundError:
        yield Finding("packages", "warn", "spar itself is not installed, it is run from its folder", _INSTALL)
        return
    wrong = [text for text in map(_problem, filter(_is_needed, wanted)) if text]
    if wrong:
        yield Finding("packages", "fail", ", ".join(wrong), _INSTALL)
    else:
        yield Finding("packages", "ok", f"spar {version('spar')} and its packages fit together")
    extras = [_EXTRAS[benchmark] for benchmark in work.benchmarks if benchmark in _EXTRAS]
    if work.config.scale.runner == "ray":
        extras.append(("ray", ("ray", "prefect-ray")))
    for extra, names in extras:
        missing = [name for name in names if _installed(name) is None]
        if missing:
            yield Finding(f"extra {extra}", "fail", f"{', '.join(missing)} missing", f"pip install -e '.[{extra}]'")


def _is_needed(requirement: Requirement) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": ""})


def _problem(requirement: Requirement) -> str:
    found = _installed(requirement.name)
    if found is None:
        return f"{requirement.name} is missing"
    if not requirement.specifier.contains(re.sub(r"\+.*", "", found), prereleases=True):
        return f"{requirement.name} is {found}, wanted {requirement.specifier}"
    return ""


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
