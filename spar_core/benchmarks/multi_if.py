"""Multi-IF: IFEval's rules over chats of three turns, in eight languages; a turn keeps the earlier turns' instructions.

The published figures are `turn_1`, `turn_2` and `turn_3`: the mean of the four rates of that turn.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from spar_core.benchmarks.plugin import (
    Asked,
    FileRequest,
    FileScores,
    Loaded,
    Measurement,
    Options,
    Part,
    RuleBenchmark,
    Subject,
    evenly,
    left_out_note,
    plain_score,
    prompt_record,
)
from spar_core.constraints.multilingual.resources import require_packages
from spar_core.errors import ConfigError, DataError
from spar_core.evaluation.data_sources import Source, find_data
from spar_core.evaluation.hub import HubFile
from spar_core.evaluation.ifeval import MISSING_ANSWER, UNANSWERED, PromptVerdicts, score_answers
from spar_core.evaluation.ifeval_rows import Answer
from spar_core.evaluation.multi_if import (
    LANGUAGES,
    LICENCE,
    Chats,
    chat_of,
    eval_items,
    read_chats,
    read_turn_answers,
    turn_scores,
)
from spar_core.evaluation.open_instructions import open_note
from spar_core.evaluation.row_files import LeftOut, row_writer
from spar_core.evaluation.scores import share_score
from spar_core.evaluation.truncation import TRUNCATED
from spar_core.records import Prompt

_CSV = "multiIF_20241018.csv"
_FROM_HUB = "multi_if/multi_if.jsonl"
_UNPUBLISHED = "the chats are not as many as the published ones; scores are not comparable with published figures"


class MultiIFBenchmark(RuleBenchmark):
    """All languages in one pass, or those asked for, which are filed under a name of their own."""

    name = "multi_if"
    summary = "rules, by turn and language: `turn_1`, `turn_2`, `turn_3` (published), `average`; extra `multilingual`"
    in_all: ClassVar[bool] = False
    multi_turn: ClassVar[bool] = True
    source = Source(
        LICENCE, (Path("multi_if", _CSV), Path(_FROM_HUB)), (HubFile(_FROM_HUB, "facebook/Multi-IF", _CSV),)
    )
    headlines = ("average", "turn_1", "turn_2", "turn_3", UNANSWERED)

    def chat_of(self, item: str) -> str:
        """An item is CHAT/TURN."""
        return chat_of(item)

    def parts(self, options: Options) -> tuple[Part, ...]:
        """One pass over the languages asked for."""
        unknown = [language for language in options.languages if language not in LANGUAGES]
        if unknown:
            raise ConfigError(f"Multi-IF has no language {unknown[0]!r}; it has {', '.join(LANGUAGES)}")
        chosen = sorted(set(options.languages))
        if not chosen or len(chosen) == len(LANGUAGES):
            return (Part(self.name),)
        return (Part(self.filed_as({"languages": chosen}), {"languages": chosen}),)

    def filed_as(self, reads: Mapping[str, Any]) -> str:
        """Some languages alone are another measurement."""
        chosen = reads.get("languages")
        return f"{self.name}-{'+'.join(chosen)}" if chosen else self.name

    def load(self, path: Path, reads: Mapping[str, Any]) -> Loaded:
        """The chats, of some languages where `reads` names them."""
        every = read_chats(path)
        chosen = reads.get("languages")
        chats = every.of(chosen, self.filed_as(reads)) if chosen else every
        require_packages(i.kind for prompt in chats.prompts.prompts for i in prompt.instructions)
        notes = ["" if every.has_published_size else _UNPUBLISHED, open_note(chats.prompts)]
        return Loaded(chats, chats.prompts.digest, "; ".join(filter(None, notes)))

    def chosen(self, content: Chats, limit: int | None) -> Chats:
        """Whole chats at even distances."""
        return content.chosen(evenly(content.names, limit))

    def prompts(self, content: Chats) -> list[Prompt]:
        """One per turn."""
        turns = content.prompts.prompts
        return [prompt_record(self.name, str(turn.key), turn.text, turn.instructions) for turn in turns]

    def measure(self, content: Chats, asked: Sequence[Asked], who: Subject) -> Measurement:
        """Strict and loose verdicts on every turn."""
        places = content.prompts.by_key
        given = [
            Answer(row.item_id, (places[row.item_id],), row.response.text) for row in asked if row.response is not None
        ]
        report = score_answers(content.prompts, given)
        reasons = {row.item_id: row.reason for row in asked if row.response is None}
        items = list(eval_items(content.prompts.name, report.items, reasons, *who))
        others = [score for score in report.scores if score.metric == UNANSWERED]
        return Measurement(items, [*turn_scores(content, report.items), *others])

    def score_file(self, request: FileRequest) -> FileScores:
        """Answers by chat and turn; languages of which no chat is answered are left out."""
        loaded = self.load(find_data(self.name, self.source, request.data_dir), {})
        left_out = LeftOut("benchmark_answers")
        given = read_turn_answers(request.answers, loaded.content, left_out if request.skip_bad else None)
        report = score_answers(loaded.content.prompts, given)
        chats, answered = self._answered(loaded.content, report.items, request.answers)
        with row_writer(request.items) as sink:
            for item in answered:
                reasons = [verdict.reason for verdict in item.verdicts]
                language = {"language": chats.languages[chat_of(str(item.key))]}
                sink.write(item.row() | language | ({"reasons": reasons} if any(reasons) else {}))
        missing = sum(_is_missing(item) for item in answered)
        cut = [score for score in report.scores if score.metric == TRUNCATED]
        lacking = [share_score(UNANSWERED, missing, len(answered), 0)] if missing else []
        scores = (*turn_scores(chats, answered), *lacking, *cut)
        notes = [loaded.warning, left_out_note(left_out.drops)]
        if missing:
            notes.append(f"{missing} of {len(answered)} turns have no answer and are left out of the scores")
        absent = sorted(set(loaded.content.languages.values()) - set(chats.languages.values()))
        if absent:
            notes.append(f"no chat in {', '.join(absent)} is answered: these languages are not part of the scores")
        plain = {"missing": missing, **{score.metric: plain_score(score) for score in scores}}
        shown = tuple(note for note in notes if note)
        return FileScores(plain, ((self.name, scores),), shown, loaded.digest, left_out=tuple(left_out.drops))

    def _answered(
        self, chats: Chats, items: Sequence[PromptVerdicts], answers: Path
    ) -> tuple[Chats, list[PromptVerdicts]]:
        """The chats in the languages of which any turn is answered, and their verdicts."""
        met = {chats.languages[chat_of(str(item.key))] for item in items if not _is_missing(item)}
        if not met:
            raise DataError(f"{answers}: no row answers any of the {len(chats.names)} chats of {self.name}")
        kept = chats.chosen([name for name, language in chats.languages.items() if language in met])
        return kept, [item for item in items if chat_of(str(item.key)) in kept.languages]


def _is_missing(item: PromptVerdicts) -> bool:
    return all(verdict.reason == MISSING_ANSWER for verdict in item.verdicts)


BENCHMARK = MultiIFBenchmark()
