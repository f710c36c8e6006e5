"""Where data given by a user lies: one grammar for training data and prompts.

    FILE                                   .json, .jsonl, .ndjson (also .gz) or .parquet
    FOLDER                                 all such files in it and below, in order of their names
    organisation/name                      a data set of the hub: the same files of its repository

After `#` stands what is taken of it, separated by `&`:

    files=PATTERN      only the files whose path below the folder matches, such as `files=sft/*.json`
    split=NAME         only the files named for this split
    revision=NAME      of a hub's data set: a branch, tag or commit
    kind=NAME          what every row without a kind of its own is: answer, judgement or refinement

Without `split`, files named for a test or validation split are left out, unless there are no others: what is held out
is not to be trained on because it lies in the same folder.
"""

import logging
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final, NamedTuple, Self

from spar_core.errors import ConfigError, DataError

_LOG = logging.getLogger(__name__)
JSON_SUFFIXES: Final = (".json", ".jsonl", ".ndjson", ".json.gz", ".jsonl.gz", ".ndjson.gz")
PARQUET_SUFFIX: Final = ".parquet"
SUFFIXES: Final = (*JSON_SUFFIXES, PARQUET_SUFFIX)
KINDS: Final = ("answer", "judgement", "refinement")
_OPTIONS: Final = ("files", "split", "revision", "kind")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_DESCRIPTIONS = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")  # no rows in these
_TRAINING: Final = "train"
_SPLITS: Final = {
    "train": _TRAINING,
    "training": _TRAINING,
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
}


class DataFile(NamedTuple):
    """One file of a source. `name` is what messages call it, with its place; `short` is its path below the place, which
    is the same wherever the data lie."""

    path: Path
    name: str
    short: str


class FoundFiles(NamedTuple):
    """The files to read, in order, and the names of those left out because they are held out."""

    files: tuple[DataFile, ...]
    left_out: tuple[str, ...] = ()


class DataSource(NamedTuple):
    """A parsed source. Empty options take everything."""

    place: str
    files: str = ""
    split: str = ""
    revision: str = ""
    kind: str = ""

    @classmethod
    def parse(cls, text: str | Path) -> Self:
        """Read a source as a user writes it; a path that exists is that path, whatever characters it has.

        Raises:
            ConfigError: an unknown option, or a kind there is not.
        """
        given = str(text)
        place, mark, fragment = given.partition("#")
        if not mark or Path(given).expanduser().exists():
            return cls(given)
        options: dict[str, str] = {}
        for part in fragment.split("&"):
            name, _, value = part.partition("=")
            if name not in _OPTIONS or not value:
                known = ", ".join(f"{option}=" for option in _OPTIONS)
                raise ConfigError(f"{given}: after # come &-separated {known} with their values; got {part!r}")
            options[name] = value
        if options.get("kind", KINDS[0]) not in KINDS:
            raise ConfigError(f"{given}: kind is one of {', '.join(KINDS)}, not {options['kind']!r}")
        return cls(place, **options)

    @property
    def options(self) -> dict[str, str]:
        """What is taken of the place, without what is not said."""
        return {name: value for name, value in zip(_OPTIONS, self[1:], strict=True) if value}

    @property
    def path(self) -> Path:
        """The place as a path."""
        return Path(self.place).expanduser()

    @property
    def is_local(self) -> bool:
        """Whether it is a file or folder of this machine; else it is looked for on the hub."""
        return self.path.exists()

    @property
    def may_be_on_hub(self) -> bool:
        """Whether only the hub can tell if it is there."""
        named = _HUB_NAME.fullmatch(self.place) is not None and not self.place.endswith(SUFFIXES)
        return named and not self.is_local

    def written(self) -> str:
        """The source as text again, a local place as an absolute path."""
        place = str(self.path.absolute()) if self.is_local else self.place
        options = "&".join(f"{name}={value}" for name, value in self.options.items())
        return f"{place}#{options}" if options else place


def find_files(source: DataSource) -> FoundFiles:
    """The files of a source; those of a hub's data set are downloaded once.

    Raises:
        DataError: there is no such place, nothing readable in it, or the hub cannot be reached.
    """
    path = source.path
    if path.is_file():
        if not path.name.endswith(SUFFIXES):
            raise DataError(f"{path}: data are read from {_forms()}; convert or rename it")
        return FoundFiles((DataFile(path, str(path), path.name),))
    if path.is_dir():
        return _chosen(source, path, f"{source.place.rstrip('/')}/")
    if not source.may_be_on_hub:
        raise DataError(
            f"{source.place}: no such file or folder; give {_forms()}, a folder of them, or a data set "
            "of the hub as organisation/name"
        )
    return _chosen(source, _downloaded(source), f"{source.place}: ")


def files_to_read(source: DataSource) -> tuple[DataFile, ...]:
    """Like `find_files`, for those who read them: what is left out is warned of.

    Raises:
        DataError: as `find_files`.
    """
    found = find_files(source)
    if found.left_out:
        left_out = ", ".join(found.left_out)
        _LOG.warning("%s: left out, as named for a held-out split (#split= reads them): %s", source.place, left_out)
    return found.files


def _chosen(source: DataSource, folder: Path, shown: str) -> FoundFiles:
    names = sorted(
        str(entry.relative_to(folder))
        for entry in folder.rglob("*")
        if entry.is_file() and entry.name.endswith(SUFFIXES) and entry.name not in _DESCRIPTIONS
    )
    names = [name for name in names if not any(part.startswith(".") for part in Path(name).parts)]
    matching = [name for name in names if not source.files or fnmatchcase(name, source.files)]
    if source.split:
        kept = [name for name in matching if _is_of_split(name, source.split)]
    else:
        kept = [name for name in matching if _split_of(name) in ("", _TRAINING)] or matching
    if not kept:
        asked = f" that matches {'&'.join(f'{k}={v}' for k, v in source.options.items())}" if source.options else ""
        there = f"; it has {', '.join(names[:8])}" if names else ""
        raise DataError(f"{source.place} holds no file{asked}; {_forms()} are read{there}")
    left_out = () if source.split else tuple(name for name in matching if name not in kept)
    return FoundFiles(tuple(DataFile(folder / name, f"{shown}{name}", name) for name in kept), left_out)


def _words(name: str) -> list[str]:
    """The words of a path, its file's name first."""
    path = Path(name)
    return re.findall(r"[a-z]+", path.name.lower()) + re.findall(r"[a-z]+", str(path.parent).lower())


def _split_of(name: str) -> str:
    return next((_SPLITS[word] for word in _words(name) if word in _SPLITS), "")


def _is_of_split(name: str, split: str) -> bool:
    named = _SPLITS.get(split.lower())
    if named is not None and named == _split_of(name):
        return True
    return re.search(rf"(?<![A-Za-z0-9]){re.escape(split)}(?![A-Za-z])", name) is not None


def _downloaded(source: DataSource) -> Path:
    from huggingface_hub import snapshot_download

    patterns = [source.files] if source.files else [f"*{suffix}" for suffix in SUFFIXES]
    try:
        found = snapshot_download(
            source.place, repo_type="dataset", revision=source.revision or None, allow_patterns=patterns
        )
    except Exception as error:  # every layer below has its own way to say that it has no network
        raise DataError(
            f"{source.place!r} is neither a file or folder here nor a data set that can be loaded from the hub "
            f"({type(error).__name__}): check the spelling, the network and HF_TOKEN, or download it "
            f"(`hf download --repo-type dataset {source.place}`) and name the folder"
        ) from error
    return Path(found)


def _forms() -> str:
    return ".json, .jsonl, .ndjson (also .gz) or .parquet files"
