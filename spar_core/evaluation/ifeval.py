"""IFEval: scoring of files or lists of answers, strict and loose, per prompt, per instruction and per kind."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from spar_core.constraints import repaired_rule
from spar_core.errors import DataError
from spar_core.evaluation.ifeval_parallel import Judging, judge_all
from spar_core.evaluation.ifeval_rows import Answer, BenchmarkPrompt, PromptSet, read_answers, read_prompts
from spar_core.evaluation.ifeval_verdicts import Verdict, judge
from spar_core.evaluation.row_files import LeftOut
from spar_core.evaluation.scores import Score, clustered_score, share_score
from spar_core.evaluation.truncation import Truncation
from spar_core.records import Drop, EvalItem, ModelRole

Missing = Literal["unscored", "failed"]
Mode = Literal["strict", "loose", "repaired"]
MODES: tuple[Mode, ...] = ("strict", "loose")
"""The published verdicts; `repaired` ones stand beside them and enter no headline."""
REPAIRED: Mode = "repaired"
REPAIRED_RATES = ("prompt_repaired", "instruction_repaired")
MISSING_ANSWER = "missing_answer"
UNANSWERED = "unanswered"
RATES = ("prompt_strict", "instruction_strict", "prompt_loose", "instruction_loose")

__all__ = ["BenchmarkPrompt", "InstructionReport", "PromptVerdicts", "Verdict", "judge", "read_prompts", "score_file"]


@dataclass(frozen=True, slots=True)
class PromptVerdicts:
    """The verdicts on one prompt's answer, in the order of its instructions."""

    key: int | str
    kinds: tuple[str, ...]
    verdicts: tuple[Verdict, ...]

    def of(self, mode: Mode) -> tuple[bool | None, ...]:
        """One verdict per instruction."""
        return tuple(getattr(verdict, mode) for verdict in self.verdicts)

    def whole(self, mode: Mode) -> bool | None:
        """Whether every instruction is met: one failure decides, else one unknown leaves it unknown."""
        verdicts = self.of(mode)
        if any(verdict is False for verdict in verdicts):
            return False
        return None if any(verdict is None for verdict in verdicts) else True

    def row(self) -> dict[str, Any]:
        """The item as an output row."""
        return {
            "key": self.key,
            "instruction_id_list": list(self.kinds),
            "strict": list(self.of("strict")),
            "loose": list(self.of("loose")),
        }


@dataclass(frozen=True, slots=True)
class InstructionReport:
    """A scored file. `missing` counts prompts without an answer, `unmatched` names rows that answer no prompt."""

    benchmark: str
    items: tuple[PromptVerdicts, ...]
    scores: tuple[Score, ...]
    missing: int
    unmatched: tuple[str, ...] = field(default=())
    left_out: tuple[Drop, ...] = field(default=())
    """Bad rows of the file of answers, where they were not an error."""

    def headline(self) -> dict[str, dict[str, Any]]:
        """The four rates by metric, each with value, interval, n and the number left unscored."""
        return {score.metric: score.plain() for score in self.scores if score.metric in RATES}

    def records(self, role: ModelRole, model_digest: str) -> Iterator[EvalItem]:
        """Catalogue rows: per prompt `prompt_*`, per instruction `instruction_*/KIND`."""
        for item in self.items:
            cluster = str(item.key)
            for mode in MODES:
                whole = _number(item.whole(mode))
                yield EvalItem(self.benchmark, role, model_digest, cluster, cluster, f"prompt_{mode}", whole)
                for index, (kind, verdict) in enumerate(zip(item.kinds, item.of(mode), strict=True)):
                    metric, reason = f"instruction_{mode}/{kind}", item.verdicts[index].reason
                    name = f"{cluster}#{index}"
                    yield EvalItem(self.benchmark, role, model_digest, name, cluster, metric, _number(verdict), reason)


def score_file(
    prompts: PromptSet,
    responses: Path,
    missing: Missing = "unscored",
    workers: int | None = None,
    *,
    skip_bad: bool = False,
) -> InstructionReport:
    """Score a file of answers (JSON lines, plain or gzip); answers are read and judged one after another.

    `missing` says what becomes of prompts without an answer: left out and counted, or failed and counted.
    `workers` processes judge big files; None takes what the machine has, once the file is worth it. `skip_bad`: bad
    rows are left out (`left_out`) instead of an error.

    Raises:
        DataError: naming file and line, see `read_answers`; or no row answers any prompt of the set.
    """
    size = responses.stat().st_size if responses.exists() else 0
    left_out = LeftOut("benchmark_answers") if skip_bad else None
    answers = read_answers(responses, prompts, left_out)
    report = score_answers(prompts, answers, missing, judge_all(size, workers))
    if report.missing == len(prompts.prompts):
        raise DataError(
            f"{responses}: no row answers any of the {len(prompts.prompts)} prompts of {prompts.name}; "
            "rows need the benchmark's 'key', or its 'prompt' unchanged"
        )
    return report if left_out is None else replace(report, left_out=tuple(left_out.drops))


def score_answers(
    prompts: PromptSet, answers: Iterable[Answer], missing: Missing = "unscored", judged: Judging | None = None
) -> InstructionReport:
    """Score answers that are already matched to prompts.

    Raises:
        DataError: data that a rule needs is missing.
    """
    found: dict[int, tuple[Verdict, ...]] = {}
    unmatched: list[str] = []
    cut = Truncation()
    run = judged or judge_all(0, 1)
    for answer, position, verdicts in run(prompts, answers):
        if verdicts is not None:
            cut.add(answer.finish_reason)
        if position is None:
            unmatched.append(answer.where)
        elif verdicts is not None:
            found[position] = verdicts
    absent = None if missing == "unscored" else False
    items = tuple(
        PromptVerdicts(
            prompt.key,
            tuple(instruction.kind for instruction in prompt.instructions),
            found.get(position) or (Verdict(absent, absent, MISSING_ANSWER, absent),) * len(prompt.instructions),
        )
        for position, prompt in enumerate(prompts.prompts)
    )
    absentees = len(prompts.prompts) - len(found)
    lacking = [share_score(UNANSWERED, absentees, len(items), 0)] if absentees else []
    scores = (*item_scores(items), *lacking, *cut.scores())
    return InstructionReport(prompts.name, items, scores, absentees, tuple(unmatched))


def item_scores(items: Sequence[PromptVerdicts]) -> Iterator[Score]:
    """The four rates, and those of instructions by kind; the same by repaired rules, for the kinds that have them."""
    modes = (*MODES, REPAIRED) if any(repaired_rule(kind) for item in items for kind in item.kinds) else MODES
    for mode in modes:
        whole = [item.whole(mode) for item in items]
        known = [verdict for verdict in whole if verdict is not None]
        yield share_score(f"prompt_{mode}", sum(known), len(known), len(whole) - len(known))
        yield _instruction_score(f"instruction_{mode}", [item.of(mode) for item in items])
    for mode in modes:
        by_kind: dict[str, list[tuple[bool | None, ...]]] = defaultdict(list)
        for item in items:
            for kind in dict.fromkeys(kind for kind in item.kinds if mode != REPAIRED or repaired_rule(kind)):
                verdicts = zip(item.kinds, item.of(mode), strict=True)
                by_kind[kind].append(tuple(verdict for other, verdict in verdicts if other == kind))
        for kind in sorted(by_kind):
            yield _instruction_score(f"instruction_{mode}/{kind}", by_kind[kind])


def _instruction_score(metric: str, verdicts: Sequence[tuple[bool | None, ...]]) -> Score:
    """Share of instructions met, bootstrapped by prompt: `verdicts[i]` are those of one prompt."""
    known = [[verdict for verdict in group if verdict is not None] for group in verdicts]
    unscored = sum(len(group) for group in verdicts) - sum(len(group) for group in known)
    filled = [group for group in known if group]
    if all(len(group) == 1 for group in filled):
        return share_score(metric, sum(group[0] for group in filled), len(filled), unscored)
    return clustered_score(metric, [sum(group) for group in filled], [len(group) for group in filled], unscored)


def _number(verdict: bool | None) -> float | None:
    return None if verdict is None else float(verdict)
