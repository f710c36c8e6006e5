"""Artifacts in an object store: complete when their manifest is in the index, which is written last and only once.

    artifacts/stage=<stage>/stage_key=<key>/part-00003/<table>-<checksum>.parquet and manifest.json
                                           /model/<file>-<checksum>, listed in model.json
                                           /joined/<table>-<checksum>.parquet      all parts of a table, for queries
    index/stage=<stage>/stage_key=<key>.json

Objects of data carry the checksum of their content in their name, so that two writers of one part never overwrite one
another's: the first manifest of a part, of a model or of an artifact counts, and whoever comes later takes it over.
"""

import json
import logging
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from spar_core.errors import StorageError
from storage.disk import disk_errors, json_text, write_text
from storage.manifests import (
    MANIFEST,
    MODEL_FOLDER,
    Manifest,
    PartManifest,
    StoredFile,
    damage,
    manifest_of,
    model_files,
    part_name,
    read_manifest,
    read_part_manifest,
)
from storage.remote import Remote, index_key, remote_of
from storage.remote_files import RemoteFiles, missing, prefix

_MODEL_LIST = "model.json"
_log = logging.getLogger(__name__)
ManifestT = TypeVar("ManifestT", Manifest, PartManifest)


class RemoteArtifacts:
    """The artifacts of one home in its store. `folder` is always where an artifact lies in the working folder."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._objects = remote.objects
        self._files = RemoteFiles(remote)
        self._settled: set[tuple[Path, bytes]] = set()
        self._with_model: set[Path] = set()

    def manifest(self, folder: Path) -> Manifest | None:
        """The manifest of a complete artifact; None where it is not complete.

        Raises:
            StorageError: the store does not answer, or a later version wrote it.
        """
        here = read_manifest(folder)
        if here is not None:
            return here
        there = self._objects.read(index_key(folder))
        if there is None:
            return None
        found = self._parsed(Manifest, there[0], index_key(folder))
        if found is not None:
            write_text(folder / MANIFEST, there[0].decode())
        return found

    def addresses(self, folder: Path, manifest: Manifest) -> Iterator[tuple[str, str]]:
        """Every table that has rows, with the files to read it from: paths where they are here, else addresses."""
        return self._files.addresses(folder, manifest)

    def part(self, folder: Path, index: int, here: PartManifest | None) -> PartManifest | None:
        """The part that counts, in the working folder as in the store; None where neither has it.

        Args:
            folder: of the artifact.
            index: of the part.
            here: what the working folder has of it, if it is whole.

        Raises:
            StorageError: the store does not answer.
        """
        if here is not None:
            return self.settle_part(folder, index)
        there = self._objects.read(_part_key(folder, index))
        return None if there is None else self._take_part(folder, index, there[0])

    def settle_part(self, folder: Path, index: int, *, replacing: bool = False) -> PartManifest | None:
        """Ship a part that is whole here, or take over the one that another worker has shipped before.

        `replacing`: what is there of other rows, or of another cut into parts, goes.

        Raises:
            StorageError: the store does not answer, or the lease is lost.
        """
        file = folder / part_name(index) / MANIFEST
        content, own = file.read_bytes(), read_part_manifest(file.parent)
        if own is None or (folder, content) in self._settled:
            return own
        self._remote.check()
        if (folder / MODEL_FOLDER).is_dir() and folder not in self._with_model:
            self.settle_model(folder)  # no part without it: a part of a training passes for its end
        self._files.send(folder, own.tables)
        key = _part_key(folder, index)
        while self._objects.create(key, content) is None:
            there = self._objects.read(key)
            if there is None:
                continue  # deleted in between
            other = self._parsed(PartManifest, there[0], key)
            if other is not None and not (replacing and (other.cut, other.split) != (own.cut, own.split)):
                _log.info("part %d of %s was finished by another worker: taken over", index, folder)
                return self._take_part(folder, index, there[0])
            if self._objects.exchange(key, content, there[1]) is not None:
                break
        self._settled.add((folder, content))
        return own

    def bring_parts(self, folder: Path) -> None:
        """Fetch the finished parts and the model that other workers have shipped and this folder lacks.

        Raises:
            StorageError: the store does not answer.
        """
        here = f"{prefix(folder)}/"
        for entry in self._objects.listed(prefix(folder)):
            name, _, file = entry.key.removeprefix(here).partition("/")
            if file == MANIFEST and not (folder / name / MANIFEST).exists():
                self.part(folder, int(name.removeprefix("part-")), None)
            elif name == _MODEL_LIST and not (folder / MODEL_FOLDER).exists():
                self._take_model(folder, self._objects.read(entry.key))

    def settle_model(self, folder: Path) -> None:
        """Ship the model of an artifact, or take over the one that another worker has shipped before.

        Raises:
            StorageError: the store does not answer, or the lease is lost.
        """
        self._remote.check()
        files, key = model_files(folder / MODEL_FOLDER), f"{prefix(folder)}/{_MODEL_LIST}"
        self._files.send(folder, files)
        if self._objects.create(key, json_text([file.model_dump() for file in files]).encode()) is None:
            _log.info("the model of %s was trained by another worker: taken over", folder)
            shutil.rmtree(folder / MODEL_FOLDER)
            self._take_model(folder, self._objects.read(key))
        self._with_model.add(folder)

    def discard_parts_from(self, folder: Path, number: int) -> None:
        """Forget the parts from `number` on. What a manifest in the index names stays readable.

        Raises:
            StorageError: the store does not answer.
        """
        first, top = _part_key(folder, number), f"{prefix(folder)}/part-"
        listed = [entry.key for entry in self._objects.listed(prefix(folder))]
        self._objects.delete(k for k in listed if k.startswith(top) and k.endswith(f"/{MANIFEST}") and k >= first)
        self._settled = {entry for entry in self._settled if entry[0] != folder}

    def commit(self, folder: Path, manifest: Manifest) -> Manifest:
        """Enter an artifact in the index; returns the manifest that counts, which may be another worker's.

        Raises:
            StorageError: the store does not answer, or the lease is lost.
        """
        self._remote.check()
        self._files.send(folder, manifest.model)
        self._files.send_joined(folder, manifest)
        key, content = index_key(folder), json_text(manifest.model_dump(mode="json")).encode()
        while self._objects.create(key, content) is None:
            there = self._objects.read(key)
            if there is None:
                continue  # deleted in between
            other = self._parsed(Manifest, there[0], key)
            if other is not None and _cuts(other) == _cuts(manifest):
                _log.info("%s was completed by another worker: taken over", folder)
                if other.content_digest != manifest.content_digest:
                    shutil.rmtree(folder, ignore_errors=True)
                return other
            if self._objects.exchange(key, content, there[1]) is not None:
                break
        return manifest

    def fetch(self, folder: Path, files: Sequence[StoredFile]) -> None:
        """Copy the files that this folder lacks.

        Raises:
            StorageError: the store does not answer, or has lost a file; then the artifact counts no longer.
        """
        if not self._files.fetch(folder, files):
            self.discard_parts_from(folder, 0)
            self._objects.delete([index_key(folder), f"{prefix(folder)}/{_MODEL_LIST}"])
            (folder / MANIFEST).unlink(missing_ok=True)
            raise StorageError(
                f"{self._objects.address(prefix(folder))} lacks files that its manifest names: somebody deleted them; "
                "run again to make it anew"
            )

    def forget_damaged(self, folder: Path, files: Sequence[StoredFile]) -> None:
        """Delete copies that do not match their checksums: they are fetched again when they are needed."""
        for file in files:
            here = folder / file.path
            if here.exists() and damage(folder, (file,), verify=True):
                here.unlink()

    def _take_part(self, folder: Path, index: int, content: bytes) -> PartManifest | None:
        found = self._parsed(PartManifest, content, _part_key(folder, index))
        if found is not None:
            place = folder / part_name(index)
            with disk_errors(place):
                shutil.rmtree(place, ignore_errors=True)
            self.fetch(folder, found.tables)
            write_text(place / MANIFEST, content.decode())
            self._settled.add((folder, content))
        return found

    def _take_model(self, folder: Path, there: tuple[bytes, str] | None) -> None:
        if there is not None:
            self.fetch(folder, [StoredFile.model_validate(entry) for entry in json.loads(there[0])])

    def _parsed(self, kind: type[ManifestT], content: bytes, key: str) -> ManifestT | None:
        return manifest_of(kind, json.loads(content), self._objects.address(key))


def fetch_files(folder: Path, files: Sequence[StoredFile]) -> None:
    """See that files of an artifact are here, fetched where its home is an object store.

    Raises:
        StorageError: the store does not answer, or has lost them.
    """
    remote = remote_of(folder.parents[2]) if missing(folder, files) else None
    if remote is not None:
        RemoteArtifacts(remote).fetch(folder, files)


def bring_model(folder: Path) -> bool:
    """Whether there is a model folder, fetched where it is one of an artifact in an object store.

    Raises:
        StorageError: the store does not answer, or has lost it.
    """
    if folder.name == MODEL_FOLDER and folder.parent.name.startswith("stage_key="):
        remote = remote_of(folder.parents[3])
        manifest = None if remote is None else RemoteArtifacts(remote).manifest(folder.parent)
        if manifest is not None:
            fetch_files(folder.parent, manifest.model)
    return folder.is_dir()


def _cuts(manifest: Manifest) -> list[tuple[int, str, object]]:
    return [(part.index, part.cut, part.split) for part in manifest.parts]


def _part_key(folder: Path, index: int) -> str:
    return f"{prefix(folder)}/{part_name(index)}/{MANIFEST}"
