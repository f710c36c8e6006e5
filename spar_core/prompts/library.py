"""Prompt templates: each text exists once, is checked when loaded and filled in one pass.

Search, judging and training data share one `PromptLibrary`, so training text and inference text are equal
byte for byte.
"""

import re
from collections.abc import Iterator, Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import NamedTuple, Self

from spar_core.errors import ConfigError
from spar_core.hashing import digest
from spar_core.prompts.format import FILE as FORMAT_FILE
from spar_core.prompts.format import PromptFormat, read_format

DEFAULT_SET = "default"
_SUFFIX = ".txt"
_REQUIRED = ("judge.txt", FORMAT_FILE)  # a folder with neither is no prompt set (benchmark judges live beside the sets)
_NUMBERED = re.compile(r"_[2-9]$|_1\d$")  # further wordings of a prompt: judge_2, judge_3, ...
ON_CONSTRAINTS = ("judge_task", "judge_constraint")
"""What a vote is asked under `judge: per_constraint`."""
_CONTINUING = "refine"  # in a chat that holds all of it already, its placeholders are optional
_PLACEHOLDER = re.compile(r"\{\{\s*(\w+)\s*\}\}")


class _Template(NamedTuple):
    """A template cut at its placeholders: literals[0] name[0] literals[1] name[1] ... literals[-1]."""

    origin: str
    text: str
    literals: tuple[str, ...]
    names: tuple[str, ...]


class PromptLibrary:
    """The templates of one prompt set, and the form of the answers; files it lacks come from the default set."""

    def __init__(self, name: str, templates: Mapping[str, _Template], form: PromptFormat | None = None) -> None:
        self.name = name
        self.format = form or PromptFormat()
        self._templates = dict(templates)
        self.digest = self.digest_of(*self._templates)

    @classmethod
    def load(cls, name_or_folder: str | Path = DEFAULT_SET) -> Self:
        """Load a shipped set (`default`, `per_constraint`, `plain`, `published`, `starter`) or a folder of such files.

        A template must use exactly the placeholders of the default template of that name; the refine template of a set
        with `refine: continuation` or `chat` may leave out any. Line breaks at the end of a file are not part of the
        template.

        Raises:
            ConfigError: unknown set, unreadable or unknown file, missing or unknown placeholder, a format that does not
                suit the texts; names both.
        """
        reference = {name: _parse(entry) for name, entry in _files(_shipped_folder(DEFAULT_SET))}
        templates = dict(reference)
        folder = _folder(name_or_folder)
        form = _format(folder)
        for name, entry in _files(folder):
            template = _parse(entry)
            if name not in reference and _first_wording(name) not in reference:
                raise ConfigError(
                    f"{template.origin}: there is no prompt of this name; allowed: "
                    + ", ".join(sorted(known + _SUFFIX for known in reference))
                )
            optional = name == _CONTINUING and form.refine != "request"
            _check_placeholders(template, reference[_first_wording(name)], optional=optional)
            templates[name] = template
        votes = ("judge", *(ON_CONSTRAINTS if form.judge == "per_constraint" else ()))
        for name in (*votes, "refine"):
            changed = [key for key in form.read_by("judge" if name in votes else name) if key != "judge"]
            if changed and templates[name] is reference[name]:
                raise ConfigError(
                    f"{folder / FORMAT_FILE}: changes what {name}{_SUFFIX} asks for ({', '.join(changed)}), "
                    f"but the folder has no {name}{_SUFFIX}; add one that asks for it"
                )
        return cls(str(name_or_folder), templates, form)

    def fill(self, template_name: str, **values: str) -> str:
        """The template with every placeholder replaced, in one pass: `{{x}}` inside a value stays as it is.

        Raises:
            ConfigError: unknown template, a placeholder without a value or a value without a placeholder.
        """
        template = self._template(template_name)
        if values.keys() != set(template.names):
            self._reject(template, values)
        parts = [template.literals[0]]
        for name, literal in zip(template.names, template.literals[1:], strict=True):
            parts.append(values[name])
            parts.append(literal)
        return "".join(parts)

    def text(self, template_name: str) -> str:
        """The template as it stands, placeholders unfilled."""
        return self._template(template_name).text

    @property
    def texts(self) -> dict[str, str]:
        """Every template as it stands, by name, in the order of the names."""
        return {name: self._templates[name].text for name in sorted(self._templates)}

    def placeholders(self, template_name: str) -> frozenset[str]:
        """Names `fill` needs for this template."""
        return frozenset(self._template(template_name).names)

    def wordings(self, template_name: str) -> tuple[str, ...]:
        """Names of a template and of its further wordings in this set: `judge`, `judge_2`, `judge_3`, ...

        A wording that another set would have to lend is none: it need not suit the models this set was made for.
        """
        found = [template_name]
        home = _place(self._template(template_name))
        while (further := f"{template_name}_{len(found) + 1}") in self._templates:
            if _place(self._templates[further]) != home:
                break
            found.append(further)
        return tuple(found)

    def digest_of(self, *template_names: str) -> str:
        """Content digest of these templates, their wordings and what of the format belongs to them, for the key of a
        stage that reads no others.
        """
        names = [wording for name in template_names for wording in self.wordings(name)]
        if "judge" in template_names and self.format.judge == "per_constraint":
            names += ON_CONSTRAINTS
        said: dict[str, object] = {name: self._template(name).text for name in names}
        for name in template_names:
            said |= {f"{FORMAT_FILE}:{key}": value for key, value in self.format.read_by(name).items()}
        return digest(said)

    def _template(self, name: str) -> _Template:
        if name not in self._templates:
            raise ConfigError(f"prompt set {self.name!r} has no {name}{_SUFFIX}; it has: {', '.join(self._templates)}")
        return self._templates[name]

    @staticmethod
    def _reject(template: _Template, values: Mapping[str, str]) -> None:
        missing, unknown = set(template.names) - values.keys(), values.keys() - set(template.names)
        problem = f"no value for {_shown(missing)}" if missing else f"unknown placeholder {_shown(unknown)}"
        raise ConfigError(f"{template.origin}: {problem}")


def shipped_prompt_sets() -> list[str]:
    """Names `PromptLibrary.load` knows without a folder."""
    root = resources.files("spar_core.prompts")
    return sorted(
        entry.name for entry in root.iterdir() if entry.is_dir() and any((entry / name).is_file() for name in _REQUIRED)
    )


def _shipped_folder(name: str) -> Traversable:
    return resources.files("spar_core.prompts") / name


def _folder(name_or_folder: str | Path) -> Traversable:
    if isinstance(name_or_folder, str) and name_or_folder in shipped_prompt_sets():
        return _shipped_folder(name_or_folder)
    folder = Path(name_or_folder).expanduser()
    if not folder.is_dir():
        raise ConfigError(
            f"prompt_set {str(name_or_folder)!r} is neither a shipped set ({', '.join(shipped_prompt_sets())}) "
            f"nor a folder; give one of these names or a folder with judge.txt, refine.txt or {FORMAT_FILE} of your own"
        )
    return folder


def _format(folder: Traversable) -> PromptFormat:
    others = (entry.name for entry in folder.iterdir() if entry.name.endswith((".yaml", ".yml")))
    if unknown := sorted(set(others) - {FORMAT_FILE}):
        raise ConfigError(f"{folder / unknown[0]}: not a file of a prompt set; its format is stated in {FORMAT_FILE}")
    return read_format(folder / FORMAT_FILE)


def _files(folder: Traversable) -> Iterator[tuple[str, Traversable]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_file() and entry.name.endswith(_SUFFIX):
            yield entry.name.removesuffix(_SUFFIX), entry


def _first_wording(name: str) -> str:
    """`judge` of `judge_2`; any other name as it is."""
    return _NUMBERED.sub("", name)


def _place(template: _Template) -> str:
    """The folder a template was read from."""
    return template.origin.replace("\\", "/").rpartition("/")[0]


def _parse(entry: Traversable) -> _Template:
    try:
        text = entry.read_text("utf-8").replace("\r\n", "\n").rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{entry}: cannot be read as UTF-8 text ({error})") from error
    pieces = _PLACEHOLDER.split(text)
    return _Template(str(entry), text, tuple(pieces[::2]), tuple(pieces[1::2]))


def _check_placeholders(template: _Template, reference: _Template, *, optional: bool) -> None:
    missing = set() if optional else set(reference.names) - set(template.names)
    unknown = set(template.names) - set(reference.names)
    if missing:
        raise ConfigError(f"{template.origin}: placeholder {_shown(missing)} is missing")
    if unknown:
        raise ConfigError(
            f"{template.origin}: unknown placeholder {_shown(unknown)}; allowed: {_shown(set(reference.names))}"
        )


def _shown(names: set[str]) -> str:
    return ", ".join("{{" + name + "}}" for name in sorted(names))
