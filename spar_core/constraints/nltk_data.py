"""Where NLTK's trained resources come from: a path, NLTK_DATA, or one download on first use.

Searched in this order: the folder given to `use_folder`, `NLTK_DATA`, NLTK's own default folders,
`$SPAR_DATA_DIR/nltk_data`. Only what none of them holds is downloaded.
"""

import io
import os
import threading
from pathlib import Path

from spar_core.errors import DataError

RESOURCES = {
    "punkt_tab": "tokenizers/punkt_tab/english/",
    "averaged_perceptron_tagger_eng": "taggers/averaged_perceptron_tagger_eng/",
    "stopwords": "corpora/stopwords/english",
}

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

    try:
        fetched = bool(nltk.download(resource, quiet=True, print_error_to=io.StringIO()))
    except (OSError, ValueError):
        fetched = False
    if not fetched or not _present(resource):
        raise DataError(
            f"the NLTK resource {resource!r} is not on this machine and could not be downloaded. On a machine with "
            f"network run: python -m nltk.downloader -d FOLDER {resource}, copy FOLDER here and set NLTK_DATA=FOLDER"
        )
