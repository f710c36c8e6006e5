"""Pages that are files of their own: style and script inside, named by digest; nothing else is loaded or run."""

import base64
import hashlib
from collections.abc import Sequence
from importlib import resources
from typing import NamedTuple

from markupsafe import Markup


class Inlined(NamedTuple):
    """The style and the script of a page, as they stand in it, and the policy that allows them and nothing else."""

    style: Markup
    script: Markup
    policy: str


def inlined(styles: Sequence[str], scripts: Sequence[str]) -> Inlined:
    """Files of the package's `static` folder to put into a page."""
    style, script = "".join(map(_file, styles)), "".join(map(_file, scripts))
    policy = (
        f"default-src 'none'; style-src '{_named(style)}'; script-src '{_named(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return Inlined(Markup(style), Markup(script), policy)


def _file(name: str) -> str:
    return (resources.files("flows.view") / "static" / name).read_text(encoding="utf-8")


def _named(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
