"""The shortest way to a benchmark: items, and a check of one answer. Everything else is the same for all of them.

A subclass gives `name`, `summary`, `source`, `read` and `check`; see docs/evaluation.md, "Add a benchmark".
"""

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from spar_core.benchmarks.plugin import (
    Asked,
    FileRequest,
    FileScores,
    Loaded,
    Measurement,
    RuleBenchmark,
    Subject,
    evenly,
    left_out_note,
    plain_score,
    prompt_record,
)
from spar_core.errors import DataError
from spar_core.evaluation.data_sources import find_data
from spar_core.evaluation.ifeval import MISSING_ANSWER, UNANSWERED
from spar_core.evaluation.row_files import FileRow, LeftOut, read_rows, row_writer
from spar_core.evaluation.scores import Score, share_score
from spar_core.evaluation.truncation import Truncation
from spar_core.hashing import digest
from spar_core.records import EvalItem, Prompt


class CheckedItem(NamedTuple):
    """One prompt, and what `check` needs to know of it."""

    item_id: str
    prompt: str
    expected: Any = None


class CheckedBenchmark(RuleBenchmark):
    """A benchmark of independent items. Scores: the share of answers that pass, by metric; files are scored alike.

    Rows of a file of answers: `key` (the item's id) or `prompt`, `response`, and `finish_reason` where it is known.
    """

    @abstractmethod
    def read(self, path: Path) -> Iterable[CheckedItem]:
        """The items of the data file or folder.

        Raises:
            DataError: naming file and line.
        """

    @abstractmethod
    def check(self, item: CheckedItem, answer: str) -> Mapping[str, bool]:
        """Whether an answer passes, by metric; the same metrics for every answer."""

    def load(self, path: Path, reads: Mapping[str, Any]) -> Loaded:
        """The items."""
        items = tuple(self.read(path))
        if len({item.item_id for item in items}) < len(items):
            raise DataError(f"{path}: two items have the same id; ids must be unique")
        return Loaded(items, digest([list(item) for item in items]))

    def chosen(self, content: Sequence[CheckedItem], limit: int | None) -> tuple[CheckedItem, ...]:
        """Items at even distances."""
        return tuple(evenly(content, limit))

    def prompts(self, content: Sequence[CheckedItem]) -> list[Prompt]:
        """One per item."""
        return [prompt_record(self.name, item.item_id, item.prompt) for item in content]

    def measure(self, content: Sequence[CheckedItem], asked: Sequence[Asked], who: Subject) -> Measurement:
        """The check on every answer."""
        answers = {row.item_id: row.response.text for row in asked if row.response is not None}
        reasons = {row.item_id: row.reason for row in asked}
        return self._measured(content, answers, reasons, who)

    def score_file(self, request: FileRequest) -> FileScores:
        """Answers by key or by prompt; one row of `request.items` per item: `key`, and by metric whether it passed."""
        loaded = self.load(find_data(self.name, self.source, request.data_dir), {})
        left_out, cut = LeftOut("benchmark_answers"), Truncation()
        answers: dict[str, str] = {}
        names = {item.item_id: item.item_id for item in loaded.content}
        by_prompt = {item.prompt.strip(): item.item_id for item in loaded.content}
        for row in read_rows(request.answers, left_out if request.skip_bad else None):
            try:
                name = _item_of(row, names, by_prompt)
                if name in answers:
                    raise row.fail(f"second answer to item {name}; keep one")
                answers[name] = row.text("response")
            except DataError as error:
                if not request.skip_bad:
                    raise
                left_out.add(row.where, "bad_row", str(error))
                continue
            cut.add(row.optional_text("finish_reason"))
        measured = self._measured(loaded.content, answers, {}, Subject(self.subject, ""))
        with row_writer(request.items) as sink:
            for item in loaded.content:
                sink.write({"key": item.item_id, **_passed(measured.items, item.item_id)})
        scores = (*measured.scores, *cut.scores())
        plain = {"missing": len(loaded.content) - len(answers), **{s.metric: plain_score(s) for s in scores}}
        notes = tuple(note for note in (left_out_note(left_out.drops),) if note)
        sections = ((self.name, scores),)
        return FileScores(plain, sections, notes, loaded.digest, left_out=tuple(left_out.drops))

    def _measured(
        self, content: Sequence[CheckedItem], answers: Mapping[str, str], reasons: Mapping[str, str], who: Subject
    ) -> Measurement:
        passed = {item.item_id: self.check(item, answers[item.item_id]) for item in content if item.item_id in answers}
        metrics = list(dict.fromkeys(metric for found in passed.values() for metric in found)) or ["accuracy"]
        missing = len(content) - len(passed)
        items = []
        for item in content:
            found = passed.get(item.item_id)
            for metric in metrics:
                value = None if found is None else float(found[metric])
                detail = "" if found is not None else reasons.get(item.item_id, MISSING_ANSWER)
                items.append(EvalItem(self.name, *who, item.item_id, item.item_id, metric, value, detail))
        scores: list[Score] = [
            share_score(metric, sum(found[metric] for found in passed.values()), len(passed), missing)
            for metric in metrics
        ]
        scores += [share_score(UNANSWERED, missing, len(content), 0)] if missing else []
        return Measurement(items, scores)


def _item_of(row: FileRow, names: Mapping[str, str], by_prompt: Mapping[str, str]) -> str:
    key = row.values.get("key")
    name = by_prompt.get(row.text("prompt").strip()) if key is None else names.get(str(key))
    if name is None:
        raise row.fail("the row answers no item of the benchmark; it needs an item's 'key', or its 'prompt' unchanged")
    return name


def _passed(items: Sequence[EvalItem], item_id: str) -> dict[str, bool | None]:
    return {item.metric: None if item.value is None else bool(item.value) for item in items if item.item_id == item_id}
