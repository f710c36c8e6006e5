"""Content-addressed artifacts: what a stage gives out, written part by part, its manifest last.

    artifacts/stage=<stage>/stage_key=<key>/part-00003/<table>.parquet and manifest.json
                                           /model/<files>              (training stages)
                                           /manifest.json              (written last: the artifact is complete)

A part is written into a temporary folder of its writer's own and renamed into place, so that two writers of one part
do not harm each other: the later one finds it finished. What has no manifest, or has files that do not match it, does
not exist for a reader. The artifact's manifest is removed before anything below it is written anew. Where the home is
an object store, this folder holds copies, and the store decides (`storage.remote_artifacts`).
"""

import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spar_core.errors import StorageError
from storage.commits import Provenance, build_manifest
from storage.disk import disk_errors, write_json
from storage.home import Home, safe_name
from storage.manifests import (
    MANIFEST,
    MODEL_FOLDER,
    PartManifest,
    Split,
    damage,
    part_name,
    read_manifest,
    read_part_manifest,
)
from storage.parts import PartWriter
from storage.refs import ArtifactRef, rows_of
from storage.remote_artifacts import RemoteArtifacts
from storage.temporary import TEMPORARY, put_in_place, remove_stale, temporary_beside
from storage.whole import Damaged, Scan, Whole, load, seen

__all__ = ["ArtifactRef", "ArtifactStore", "Damaged", "Provenance", "Scan", "Whole"]

_log = logging.getLogger(__name__)
# What makes up a model: never optimizer state or other pickles that trainers leave beside the weights.
_MASTERS = "masters"
_MODEL_SUFFIXES = (".safetensors", ".json", ".jinja", ".model", ".txt", ".md")


class ArtifactStore:
    """The artifacts of one home. Safe for several threads and processes that write different parts."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._remote = None if home.remote is None else RemoteArtifacts(home.remote)

    def folder(self, stage: str, key: str) -> Path:
        """Where the artifact of a stage key lies, or would lie."""
        return self._home.artifacts / f"stage={safe_name(stage, 'stage')}" / f"stage_key={safe_name(key, 'stage key')}"

    def get(self, stage: str, key: str, *, verify: bool = False) -> ArtifactRef | None:
        """The finished artifact, or None where it must be made (again).

        Believed only with a readable manifest and all files of the right size, and with `verify` the right checksum.

        Raises:
            StorageError: a later version of spar wrote it.
        """
        folder = self.folder(stage, key)
        loaded = load(folder, self._remote, verify=verify)
        if isinstance(loaded, Damaged):
            if (folder / MANIFEST).exists():
                _log.warning("artifact %s is damaged and will be made again: %s", folder, "; ".join(loaded.problems))
            return None
        return loaded.ref

    def require(self, stage: str, key: str) -> ArtifactRef:
        """The finished artifact.

        Raises:
            StorageError: it is gone or damaged.
        """
        found = self.get(stage, key)
        if found is None:
            raise StorageError(f"the artifact of stage {stage!r} ({key}) is gone or damaged; run again")
        return found

    def scan(self, *, verify: bool = False) -> Scan:
        """Every artifact with a manifest, in order of stage and key."""
        folders = sorted(path.parent for path in self._home.artifacts.glob(f"stage=*/stage_key=*/{MANIFEST}"))
        loaded = [seen(folder, self._remote, verify=verify) for folder in folders]
        return Scan(
            tuple(entry for entry in loaded if isinstance(entry, Whole)),
            tuple(entry for entry in loaded if isinstance(entry, Damaged)),
        )

    def has_part(self, stage: str, key: str, index: int, *, cut: str | None = None) -> bool:
        """Whether a part is finished and, where `cut` is given, about those rows.

        Its files are read and compared with their checksums.
        """
        part = self._whole_part(self.folder(stage, key), index)
        return part is not None and cut in (None, part.cut)

    def has_split(self, stage: str, key: str) -> bool:
        """Whether every part of one cut is finished, as the first of them says."""
        folder = self.folder(stage, key)
        first = self._whole_part(folder, 0)
        if first is None or first.split is None:
            return False
        others = (self._whole_part(folder, index) for index in range(1, first.split[0]))
        return all(part is not None and part.split == first.split for part in others)

    def rows_of_part(self, stage: str, key: str, index: int, table: str) -> Iterator[Any]:
        """The records of a table in a finished part; the artifact may lack others yet.

        Raises:
            StorageError: the part is not finished, or a file cannot be read.
        """
        folder = self.folder(stage, key)
        part = read_part_manifest(folder / part_name(index))
        if part is None:
            raise StorageError(f"part {index} of {folder} is not finished")
        return rows_of(folder, (stored for stored in part.tables if stored.table == table))

    @contextmanager
    def part(
        self, stage: str, key: str, index: int, *, cut: str | None = None, split: Split | None = None
    ) -> Iterator[PartWriter]:
        """Write one part; it exists when the block ends without an exception.

        A finished part is kept as it is, unless it is about other rows than `cut`, or of another `split`.

        Raises:
            StorageError: the disk is full or not writable.
        """
        folder = self.folder(stage, key)
        final = folder / part_name(index)
        with _replacing(folder, final) as temporary:
            writer = PartWriter(temporary, final.name, index, cut, split)
            try:
                yield writer
                written = writer.finish()
            except BaseException:
                writer.abandon()
                raise
            there = self._whole_part(folder, index)
            if there is not None and cut in (None, there.cut) and there.split == written.split:
                shutil.rmtree(temporary)  # another worker finished the same part meanwhile
        if self._remote is not None:
            self._remote.settle_part(folder, index, replacing=True)

    def addresses(self, artifact: Whole) -> Iterator[tuple[str, str]]:
        """Every table of an artifact that has rows, with the files to read it from, or their addresses in the store."""
        ref, manifest = artifact
        if self._remote is not None:
            return self._remote.addresses(ref.folder, manifest)
        files = (file for part in manifest.parts for file in part.tables if file.rows)
        return ((file.table, str(ref.folder / file.path)) for file in files)

    def metrics_so_far(self, stage: str, key: str) -> dict[str, float]:
        """Sums of what the finished parts of an artifact measured, also before it is committed."""
        sums: dict[str, float] = {}
        for folder in self.folder(stage, key).glob("part-?????"):
            part = read_part_manifest(folder)
            for name, value in part.metrics.items() if part is not None else ():
                sums[name] = sums.get(name, 0.0) + value
        return sums

    def discard_parts_from(self, stage: str, key: str, number: int) -> None:
        """Forget the parts from `number` on, left by an earlier cut into more of them."""
        folder = self.folder(stage, key)
        if self._remote is not None:
            self._remote.discard_parts_from(folder, number)
        with disk_errors(folder):
            for part in folder.glob("part-?????"):
                if part.name >= part_name(number):
                    (folder / MANIFEST).unlink(missing_ok=True)
                    shutil.rmtree(part)

    def discard_damaged_model(self, stage: str, key: str) -> None:
        """Forget an artifact whose model is not what its manifest says: its parts alone would let it pass for whole.

        The manifest goes last, so that whatever is cut off here is seen again. An object store has no part without
        its model.
        """
        folder = self.folder(stage, key)
        manifest = read_manifest(folder)
        if self._remote is not None or manifest is None or not damage(folder, manifest.model, verify=False):
            return
        with disk_errors(folder):
            for gone in (*folder.glob("part-?????"), folder / MODEL_FOLDER):
                shutil.rmtree(gone, ignore_errors=True)
            (folder / MANIFEST).unlink(missing_ok=True)

    def workspace(self, stage: str, key: str) -> Path:
        """A folder for what an unfinished stage needs to resume, such as checkpoints; removed at commit."""
        folder = self._home.work / safe_name(stage, "stage") / safe_name(key, "stage key")
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def adopt_model(self, stage: str, key: str, source: Path) -> Path:
        """Take the model in `source` into the artifact and return its folder there; `source` stays as it is.

        Only weights, configuration and tokenizer files are taken, as hard links where the file system can; also those
        of the folder `masters` in it, fp32 weights for the next training.

        Raises:
            StorageError: `source` holds no weights, or the disk is full.
        """
        files = _model_files(source)
        if not any(path.suffix == ".safetensors" for path in files):
            raise StorageError(f"{source} holds no .safetensors weights; the training that wrote it did not finish")
        folder = self.folder(stage, key)
        with _replacing(folder, folder / MODEL_FOLDER) as temporary:
            for path in files:
                _link_or_copy(path, temporary / path.name)
            for path in _model_files(source / _MASTERS):
                (temporary / _MASTERS).mkdir(exist_ok=True)
                _link_or_copy(path, temporary / _MASTERS / path.name)
        if self._remote is not None:
            self._remote.settle_model(folder)
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
        if self._remote is not None:
            self._remote.bring_parts(folder)
        stored = self._whole_parts(folder, parts)
        rows = (
            sum(part.rows_in for part in stored) if rows_in is None else rows_in,
            sum(part.rows_out for part in stored) if rows_out is None else rows_out,
        )
        manifest = build_manifest(folder, (stage, key), stored, rows, provenance or Provenance())
        manifest = manifest.model_copy(update={"metrics": {**manifest.metrics, **(metrics or {})}})
        if self._remote is not None:
            manifest = self._remote.commit(folder, manifest)
        write_json(folder / MANIFEST, manifest.model_dump(mode="json"))
        shutil.rmtree(self._home.work / stage / key, ignore_errors=True)
        return ArtifactRef.of(manifest, folder)

    def _whole_part(self, folder: Path, index: int) -> PartManifest | None:
        part = read_part_manifest(folder / part_name(index))
        whole = None if part is None or damage(folder, part.tables, verify=True) else part
        return whole if self._remote is None else self._remote.part(folder, index, whole)

    def _whole_parts(self, folder: Path, expected: int | None) -> tuple[PartManifest, ...]:
        names = sorted(path.name for path in folder.glob("part-*") if path.is_dir() and TEMPORARY not in path.name)
        first = read_part_manifest(folder / part_name(0))
        if expected is None and first is not None and first.split is not None:
            expected = first.split[0]
        wanted = [part_name(index) for index in range(len(names) if expected is None else expected)]
        found = [read_part_manifest(folder / name) for name in wanted]
        whole = tuple(part for part in found if part is not None and not damage(folder, part.tables, verify=False))
        if len(whole) != len(wanted) or set(names) - set(wanted):
            broken = sorted(set(wanted) - {part_name(part.index) for part in whole})
            raise StorageError(
                f"{folder} cannot be completed: missing or damaged parts: {', '.join(broken) or 'none'}; "
                f"unexpected parts: {', '.join(sorted(set(names) - set(wanted))) or 'none'}; run again"
            )
        if len({part.split for part in whole}) > 1:
            raise StorageError(f"{folder} cannot be completed: its parts were cut in different ways; run again")
        return whole


@contextmanager
def _replacing(artifact: Path, final: Path) -> Iterator[Path]:
    """A temporary folder that becomes `final`, unless the block removes it or raises."""
    temporary = temporary_beside(final)
    with disk_errors(final):
        remove_stale(final)
        temporary.mkdir(parents=True)
    try:
        yield temporary
        if temporary.exists():
            with disk_errors(final):
                (artifact / MANIFEST).unlink(missing_ok=True)
                put_in_place(temporary, final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _model_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.is_file() and path.suffix in _MODEL_SUFFIXES)


def _link_or_copy(source: Path, target: Path) -> None:
    with disk_errors(target):
        try:
            os.link(source, target)
        except OSError:
            shutil.copy2(source, target)
