"""Whether an artifact is whole: a readable manifest, and files that match it."""

from pathlib import Path
from typing import NamedTuple

from spar_core.errors import StorageError
from storage.manifests import MANIFEST, Manifest, damage, read_manifest
from storage.refs import ArtifactRef
from storage.remote_artifacts import RemoteArtifacts


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


def load(folder: Path, remote: RemoteArtifacts | None, *, verify: bool) -> Whole | Damaged:
    """The artifact in `folder`, or why it is not believed; `verify` also reads its files and compares checksums.

    Of a home in an object store the index decides (`remote`); copies of its files are only believed or not.

    Raises:
        StorageError: a later version of spar wrote it, or the object store does not answer.
    """
    manifest = read_manifest(folder) if remote is None else remote.manifest(folder)
    if manifest is None:
        return Damaged(folder, (f"{MANIFEST} is missing or unreadable",))
    if remote is not None:
        if verify:
            remote.forget_damaged(folder, manifest.files)
        return Whole(ArtifactRef.of(manifest, folder), manifest)
    problems = damage(folder, manifest.files, verify=verify)
    return Damaged(folder, tuple(problems)) if problems else Whole(ArtifactRef.of(manifest, folder), manifest)


def seen(folder: Path, remote: RemoteArtifacts | None, *, verify: bool) -> Whole | Damaged:
    """Like `load`; what a later version wrote is there, but not for this one."""
    try:
        return load(folder, remote, verify=verify)
    except StorageError as error:
        return Damaged(folder, (str(error),))
