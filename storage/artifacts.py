"""Content-addressed artifacts: what a stage gives out, written part by part, its manifest last.

    artifacts/stage=<stage>/stage_key=<key>/part-00003/<table>.parquet and manifest.json
                                           /model/<files>              (training stages)
                                           /manifest.json              (written last: the artifact is complete)

A part is written into a temporary folder and renamed into place. What has no manifest, or has files that do not match
it, does not exist for a reader. The artifact's manifest is removed before anything below it is written anew.
"""

import logging
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from spar_core.errors import StorageError
from storage.commits import Provenance, build_manifest
from storage.disk import disk_errors
from storage.disk import write_json as write_json_file
from storage.home import Home, safe_name
from storage.manifests import (
    MANIFEST,
    MODEL_FOLDER,
    Manifest,
    PartManifest,
    damage,
    read_manifest,
    read_part_manifest,
)
from storage.parts import PartWriter
from storage.refs import ArtifactRef

__all__ = ["ArtifactRef", "ArtifactStore", "Damaged", "Provenance", "Scan", "Whole"]

_log = logging.getLogger(__name__)
_TEMPORARY = ".tmp-"
# What makes up a model: never optimizer state or other pickles that trainers leave beside the weights.
_MODEL_SUFFIXES = (".safetensors", ".json", ".jinja", ".model", ".txt", ".md")


class Whole(NamedTuple):
    """A finished artifact and its manifest."""

    ref: ArtifactRef
    manifest: Manifest


class Damaged(NamedTuple):
    """An artifact that is not believed, and why."""

    folder: Path
    problems: tuple[str, ...]


class Scan(NamedTuple):
    """Every artifact of a home."""

    whole: tuple[Whole, ...]
    damaged: tuple[Damaged, ...]


class ArtifactStore:
    """The artifacts of one home. Safe for several threads and processes that write different parts."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def folder(self, stage: str, key: str) -> Path:
        """Where the artifact of a stage key lies, or would lie."""
        return self._home.artifacts / f"stage={safe_name(stage, 'stage')}" / f"stage_key={safe_name(key, 'stage key')}"

    def get(self, stage: str, key: str, *, verify: bool = False) -> ArtifactRef | None:
        """The finished artifact, or None where it must be made (again).

        Believed only with a readable manifest and all files of the right size, and with `verify` the right checksum.
        """
        folder = self.folder(stage, key)
        loaded = _load(folder, verify=verify)
        if isinstance(loaded, Damaged):
            if (folder / MANIFEST).exists():
                _log.warning("artifact %s is damaged and will be made again: %s", folder, "; ".join(loaded.problems))
            return None
        return loaded.ref

    def open(self, ref: Mapping[str, Any]) -> ArtifactRef:
        """The artifact that `ArtifactRef.to_json` described.

        Raises:
            StorageError: it is gone, damaged, or holds other content now.
        """
        found = self.get(ref["stage"], ref["stage_key"])
        if found is None or found.content_digest != ref["content_digest"]:
            raise StorageError(
                f"the artifact of stage {ref['stage']!r} ({ref['stage_key']}) "
                "is gone, damaged or was replaced; run again"
            )
        return found

    def scan(self, *, verify: bool = False) -> Scan:
        """Every artifact with a manifest, in order of stage and key."""
        folders = sorted(path.parent for path in self._home.artifacts.glob(f"stage=*/stage_key=*/{MANIFEST}"))
        loaded = [_load(folder, verify=verify) for folder in folders]
        return Scan(
            tuple(entry for entry in loaded if isinstance(entry, Whole)),
            tuple(entry for entry in loaded if isinstance(entry, Damaged)),
        )

    def has_part(self, stage: str, key: str, index: int) -> bool:
        """Whether a part is finished; its files are read and compared with their checksums."""
        return self._whole_part(self.folder(stage, key), index) is not None

    @contextmanager
    def part(self, stage: str, key: str, index: int) -> Iterator[PartWriter]:
        """Write one part; it exists when the block ends without an exception. A finished part is kept as it is.

        Raises:
            StorageError: the disk is full or not writable.
        """
        folder = self.folder(stage, key)
        final = folder / _part_name(index)
        with _replacing(folder, final) as temporary:
            writer = PartWriter(temporary, final.name, index)
            try:
                yield writer
                writer.finish()
            except BaseException:
                writer.abandon()
                raise
            if self._whole_part(folder, index) is not None:
                shutil.rmtree(temporary)  # another worker finished the same part meanwhile

    def metrics_so_far(self, stage: str, key: str) -> dict[str, float]:
        """Sums of what the finished parts of an artifact measured, also before it is committed."""
        sums: dict[str, float] = {}
        for folder in self.folder(stage, key).glob("part-?????"):
            part = read_part_manifest(folder)
            for name, value in part.metrics.items() if part is not None else ():
                sums[name] = sums.get(name, 0.0) + value
        return sums

    def discard_parts(self, stage: str, key: str) -> None:
        """Forget the parts of an unfinished artifact that will be cut anew; those being written stay."""
        folder = self.folder(stage, key)
        with disk_errors(folder):
            for part in folder.glob("part-?????"):
                shutil.rmtree(part)

    def workspace(self, stage: str, key: str) -> Path:
        """A folder for what an unfinished stage needs to resume, such as checkpoints; removed at commit."""
        folder = self._home.work / safe_name(stage, "stage") / safe_name(key, "stage key")
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def adopt_model(self, stage: str, key: str, source: Path) -> Path:
        """Take the model in `source` into the artifact and return its folder there; `source` stays as it is.

        Only weights, configuration and tokenizer files are taken, as hard links where the file system can.

        Raises:
            StorageError: `source` holds no weights, or the disk is full.
        """
        files = sorted(path for path in source.glob("*") if path.is_file() and path.suffix in _MODEL_SUFFIXES)
        if not any(path.suffix == ".safetensors" for path in files):
            raise StorageError(f"{source} holds no .safetensors weights; the training that wrote it did not finish")
        folder = self.folder(stage, key)
        with _replacing(folder, folder / MODEL_FOLDER) as temporary:
            for path in files:
                _link_or_copy(path, temporary / path.name)
        return folder / MODEL_FOLDER

    def commit(
        self,
        stage: str,
        key: str,
        *,
        rows_in: int | None = None,
        rows_out: int | None = None,
        parts: int | None = None,
        metrics: Mapping[str, float] | None = None,
        provenance: Provenance | None = None,
    ) -> ArtifactRef:
        """Declare the artifact complete: checks parts and rows, writes the manifest, frees the workspace.

        `rows_in` and `rows_out` default to what the parts account for; `metrics` join the sums of the parts'.

        Raises:
            StorageError: a part is missing, rows_in differs from rows_out + rows of `drops`, or the disk is full.
        """
        folder = self.folder(stage, key)
        stored = self._whole_parts(folder, parts)
        rows = (
            sum(part.rows_in for part in stored) if rows_in is None else rows_in,
            sum(part.rows_out for part in stored) if rows_out is None else rows_out,
        )
        manifest = build_manifest(folder, (stage, key), stored, rows, provenance or Provenance())
        manifest = manifest.model_copy(update={"metrics": {**manifest.metrics, **(metrics or {})}})
        write_json_file(folder / MANIFEST, manifest.model_dump(mode="json"))
        shutil.rmtree(self._home.work / stage / key, ignore_errors=True)
        return ArtifactRef.of(manifest, folder)

    def _whole_part(self, folder: Path, index: int) -> PartManifest | None:
        part = read_part_manifest(folder / _part_name(index))
        return None if part is None or damage(folder, part.tables, verify=True) else part

    def _whole_parts(self, folder: Path, expected: int | None) -> tuple[PartManifest, ...]:
        names = sorted(path.name for path in folder.glob("part-*") if path.is_dir() and _TEMPORARY not in path.name)
        wanted = [_part_name(index) for index in range(len(names) if expected is None else expected)]
        found = [read_part_manifest(folder / name) for name in wanted]
        whole = tuple(part for part in found if part is not None and not damage(folder, part.tables, verify=False))
        if len(whole) != len(wanted) or set(names) - set(wanted):
            broken = sorted(set(wanted) - {_part_name(part.index) for part in whole})
            raise StorageError(
                f"{folder} cannot be completed: missing or damaged parts: {', '.join(broken) or 'none'}; "
                f"unexpected parts: {', '.join(sorted(set(names) - set(wanted))) or 'none'}; run again"
            )
        return whole


def _load(folder: Path, *, verify: bool) -> Whole | Damaged:
    manifest = read_manifest(folder)
    if manifest is None:
        return Damaged(folder, (f"{MANIFEST} is missing or unreadable",))
    problems = damage(folder, manifest.files, verify=verify)
    return Damaged(folder, tuple(problems)) if problems else Whole(ArtifactRef.of(manifest, folder), manifest)


@contextmanager
def _replacing(artifact: Path, final: Path) -> Iterator[Path]:
    """A temporary folder that becomes `final`, unless the block removes it or raises."""
    temporary = final.with_name(f"{final.name}{_TEMPORARY}{secrets.token_hex(4)}")
    with disk_errors(final):
        for stale in final.parent.glob(f"{final.name}{_TEMPORARY}*"):
            shutil.rmtree(stale, ignore_errors=True)
        temporary.mkdir(parents=True)
    try:
        yield temporary
        if temporary.exists():
            with disk_errors(final):
                (artifact / MANIFEST).unlink(missing_ok=True)
                shutil.rmtree(final, ignore_errors=True)
                os.rename(temporary, final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _link_or_copy(source: Path, target: Path) -> None:
    with disk_errors(target):
        try:
            os.link(source, target)
        except OSError:
            shutil.copy2(source, target)


def _part_name(index: int) -> str:
    return f"part-{index:05d}"
