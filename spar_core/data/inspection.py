"""What given data hold, and for whom: per file the shapes, what each row can be used for, and what is lacking."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from spar_core.data.example_files import shaped_row, stated_kind
from spar_core.data.example_kinds import Formats, kind_of, known_formats, verdict_of
from spar_core.data.given_source import DataSource, find_files
from spar_core.data.row_reading import RawRow, raw_rows
from spar_core.data.shapes import COLUMNS, ShapedRow
from spar_core.errors import DataError
from spar_core.records import Verdict

PAIR: Final = "pair"
QUESTION: Final = "prompt only"
UNUSABLE: Final = "unusable"
USES: Final = ("answer", PAIR, "judgement", "refinement", "replay", QUESTION, UNUSABLE)
"""What a row can be used for, in the order they are shown."""
_LACKING: Final = {
    "answer": "no answers: `spar train actor --examples` finds nothing here",
    PAIR: "no preference pairs: `spar train actor --pairs` finds nothing here",
    "judgement": "no judgements: a refiner trained on this does not learn to judge",
    "refinement": "no refinements: a refiner trained on this does not learn to rewrite",
}
_SHOWN_PROBLEMS = 5
_KEPT_PROBLEMS = 200  # messages quote what they found, so that every broken row may have its own


class Problem(NamedTuple):
    """Why rows cannot be used: what is wrong, with how many, and where the first of them stands."""

    message: str
    rows: int
    first: str


@dataclass(slots=True)
class FileContents:
    """What one file holds."""

    name: str
    rows: int = 0
    shapes: Counter[str] = field(default_factory=Counter)
    uses: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    """YES and NO of the judgements."""
    turns: Counter[int] = field(default_factory=Counter)
    """Rows by the number of their turns, without system text."""
    problems: dict[str, Problem] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """JSON-like values."""
        return {
            "file": self.name,
            "rows": self.rows,
            "shapes": dict(self.shapes),
            "uses": {use: self.uses[use] for use in USES if self.uses[use]},
            "verdicts": dict(self.verdicts),
            "turns": {str(turns): rows for turns, rows in sorted(self.turns.items())},
            "problems": [problem._asdict() for problem in self.worst()],
        }

    def note(self, message: str, where: str, rows: int = 0) -> None:
        """Count rows that cannot be used."""
        if message not in self.problems and len(self.problems) >= _KEPT_PROBLEMS:
            message = "further problems"
        known = self.problems.get(message, Problem(message, 0, where))
        self.problems[message] = known._replace(rows=known.rows + rows)

    def worst(self) -> list[Problem]:
        """The most frequent problems."""
        return sorted(self.problems.values(), key=lambda problem: -problem.rows)[:_SHOWN_PROBLEMS]


class Contents(NamedTuple):
    """What a source holds."""

    source: str
    files: tuple[FileContents, ...]
    left_out: tuple[str, ...]

    @property
    def uses(self) -> Counter[str]:
        """Rows of all files by what they can be used for."""
        return sum((file.uses for file in self.files), Counter())

    def lacking(self) -> list[str]:
        """What nobody can learn from this."""
        uses = self.uses
        return [said for use, said in _LACKING.items() if not uses[use]]

    def commands(self) -> list[str]:
        """How to train on it."""
        uses, place = self.uses, f"'{self.source}'" if "#" in self.source or " " in self.source else self.source
        offered = (
            ("answer", f"spar train actor --examples {place}"),
            (PAIR, f"spar train actor --pairs {place}"),
            ("judgement", f"spar train refiner --examples {place}"),
            ("refinement", f"spar train refiner --examples {place}"),
        )
        return list(dict.fromkeys(command for use, command in offered if uses[use]))

    def plain(self) -> dict[str, Any]:
        """JSON-like values."""
        return {
            "source": self.source,
            "rows": sum(file.rows for file in self.files),
            "uses": {use: self.uses[use] for use in USES if self.uses[use]},
            "files": [file.plain() for file in self.files],
            "left_out": list(self.left_out),
            "lacking": self.lacking(),
            "commands": self.commands(),
        }


def inspect_source(text: str, prompt_set: str | None = None) -> Contents:
    """Read all of a source and say what it holds; broken rows are counted, not refused.

    `prompt_set`: its format tells judgements and refinements too, beside those of the shipped sets.

    Raises:
        DataError: there is no such source.
        ConfigError: there is no such prompt set.
    """
    source, formats = DataSource.parse(text), known_formats(prompt_set)
    found = find_files(source)
    files = {file.name: FileContents(file.name) for file in found.files}
    for file in found.files:
        contents = files[file.name]
        try:
            for raw in raw_rows(file.path, file.name, COLUMNS):
                _count(contents, raw, source, formats)
        except DataError as error:
            contents.note(str(error), file.name)
    return Contents(text, tuple(files.values()), found.left_out)


def _count(contents: FileContents, raw: RawRow, source: DataSource, formats: Formats) -> None:
    contents.rows += 1
    try:
        row = shaped_row(raw)
        use = _use(row, raw, source, formats)
    except DataError as error:
        contents.note(str(error).removeprefix(f"{raw.where}: "), raw.where, rows=1)
        contents.uses[UNUSABLE] += 1
        return
    contents.shapes[row.shape] += 1
    contents.uses[use] += 1
    contents.turns[sum(turn.role != "system" for turn in row.messages)] += 1
    if use == "judgement":
        contents.verdicts.update(_verdict(row, formats))


def _use(row: ShapedRow, raw: RawRow, source: DataSource, formats: Formats) -> str:
    if row.rejected is not None:
        return PAIR
    if row.answer is None:
        return QUESTION
    return stated_kind(raw.values, source) or kind_of(row.messages, formats)


def _verdict(row: ShapedRow, formats: Formats) -> Iterator[str]:
    found: Verdict | None = None if row.answer is None else verdict_of(row.answer, formats)
    if found is not None:
        yield found.value
