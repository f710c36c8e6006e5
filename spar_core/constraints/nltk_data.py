"""Where NLTK's trained resources come from: a path, NLTK_DATA, or one download on first use.

Searched in this order: the folder given to `use_folder`, `NLTK_DATA`, NLTK's own default folders,
`$SPAR_DATA_DIR/nltk_data`. Only what none of them holds is downloaded.

NLTK itself takes seconds to import: it is, when a resource is used.
"""

import io
import os
import sys
import threading
import urllib.request
from pathlib import Path

from spar_core.errors import DataError

RESOURCES = {
    "punkt_tab": "tokenizers/punkt_tab/english/",
    "averaged_perceptron_tagger_eng": "taggers/averaged_perceptron_tagger_eng/",
    "stopwords": "corpora/stopwords/english",
}

_INDEX = "https://raw.githubusercontent.com/nltk/nltk_data/gh-pages/index.xml"
_ANSWER_S = 4.0  # until its server must answer: NLTK would wait for ever
_lock = threading.Lock()
_found: set[str] = set()


def use_folder(folder: Path) -> None:
    """Look in `folder` first (the folder that holds `tokenizers/`, `taggers/` and `corpora/`).

    Raises:
        DataError: the folder does not exist.
    """
    import nltk.data

    if not folder.is_dir():
        raise DataError(f"NLTK data folder {folder} does not exist; give the folder that holds tokenizers/punkt_tab")
    nltk.data.path.insert(0, str(folder))


def require(resource: str) -> None:
    """Make a resource of `RESOURCES` available to NLTK.

    Raises:
        DataError: it is nowhere on this machine and could not be downloaded.
    """
    with _lock:
        if resource in _found:
            return
        if not _present(resource):
            _download(resource)
        _found.add(resource)


def is_present(resource: str) -> bool:
    """Whether a resource of `RESOURCES` lies on this machine."""
    place = Path(RESOURCES[resource])
    packed = Path(*place.parts[:2]).with_suffix(".zip")
    return any((folder / place).exists() or (folder / packed).exists() for folder in _folders())


def is_obtainable() -> bool:
    """Whether the server of NLTK's data answers within a few seconds."""
    answers: list[bool] = []

    def ask() -> None:
        try:
            with urllib.request.urlopen(_INDEX, timeout=_ANSWER_S):
                answers.append(True)
        except (OSError, ValueError):
            pass

    asking = threading.Thread(target=ask, daemon=True)  # looking up the server's name has no time limit of its own
    asking.start()
    asking.join(_ANSWER_S)
    return bool(answers)


def missing_message(resource: str) -> str:
    """What to say of a resource that is nowhere, with the remedy."""
    return (
        f"the NLTK resource {resource!r} is not on this machine and could not be downloaded. On a machine with "
        f"network run: python -m nltk.downloader -d FOLDER {resource}, copy FOLDER here and set NLTK_DATA=FOLDER"
    )


def _folders() -> list[Path]:
    """Where NLTK looks, without importing it, and then `$SPAR_DATA_DIR/nltk_data`."""
    shared = os.environ.get("SPAR_DATA_DIR")
    last = [Path(shared) / "nltk_data"] if shared else []
    if "nltk.data" in sys.modules:
        return [Path(folder) for folder in sys.modules["nltk.data"].path] + last
    named = [Path(folder) for folder in os.environ.get("NLTK_DATA", "").split(os.pathsep) if folder]
    prefixes = [Path(sys.prefix, part) for part in ("nltk_data", "share/nltk_data", "lib/nltk_data")]
    usual = [Path(top, part, "nltk_data") for part in ("share", "lib") for top in ("/usr", "/usr/local")]
    return [*named, Path("~/nltk_data").expanduser(), *prefixes, *usual, *last]


def _present(resource: str) -> bool:
    import nltk.data

    shared = os.environ.get("SPAR_DATA_DIR")
    if shared and (folder := str(Path(shared) / "nltk_data")) not in nltk.data.path:
        nltk.data.path.append(folder)
    try:
        nltk.data.find(RESOURCES[resource])
    except LookupError:
        return False
    return True


def _download(resource: str) -> None:
    import nltk

    fetched = False
    if is_obtainable():
        try:
            fetched = bool(nltk.download(resource, quiet=True, print_error_to=io.StringIO()))
        except (OSError, ValueError):
            fetched = False
    if not fetched or not _present(resource):
        raise DataError(missing_message(resource))
