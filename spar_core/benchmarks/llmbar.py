"""LLMBar: which of two outputs follows an instruction better; the refiner compares, labels decide."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

from spar_core.benchmarks.plugin import (
    Asked,
    FileRequest,
    FileScores,
    JudgedBenchmark,
    Judges,
    Loaded,
    Options,
    Part,
    Subject,
    evenly,
    plain_score,
    prompt_record,
)
from spar_core.errors import ConfigError
from spar_core.evaluation.data_sources import Source, find_data
from spar_core.evaluation.hub import HubFile
from spar_core.evaluation.llmbar import LLMBar, LLMBarReport, Pair, eval_items, load_llmbar, run_by_value, run_llmbar
from spar_core.evaluation.llmbar import score_file as score_llmbar_file
from spar_core.evaluation.llmbar.dataset import LICENCE, SUBSETS, Winner
from spar_core.evaluation.llmbar.published import PublishedWording
from spar_core.evaluation.llmbar.runner import LLMBarRun
from spar_core.evaluation.llmbar.scoring import Judged, Tally
from spar_core.evaluation.llmbar.strategies import OURS, STRATEGIES, structure_of
from spar_core.evaluation.scores import Score
from spar_core.records import EvalItem, Prompt

VOTES = "Votes"
_FILES = "https://raw.githubusercontent.com/princeton-nlp/LLMBar/main/Dataset/LLMBar"
_HUB = tuple(HubFile(f"llmbar/{name}/dataset.json", "json", f"{_FILES}/{name}/dataset.json") for name in SUBSETS)


class LLMBarBenchmark(JudgedBenchmark):
    """One pass per strategy: the refiner's votes, or an evaluator's prompt."""

    name = "llmbar"
    subject = "refiner"
    answered: ClassVar[bool] = False
    judge: ClassVar[Literal["judge", "refiner"]] = "refiner"
    summary = "labels, both answer orders: `accuracy`, `agreement` per strategy; per subset, `adversarial`, `overall`"
    source = Source(LICENCE, (Path("llmbar", "Dataset", "LLMBar"), Path("llmbar")), _HUB)

    def parts(self, options: Options) -> tuple[Part, ...]:
        """The strategies asked for; by default the votes, and one comparison in this project's wording."""
        return tuple(_part(name, options.judge_prompts) for name in options.strategies or (VOTES, f"{OURS}Vanilla"))

    def load(self, path: Path, reads: Mapping[str, Any]) -> Loaded:
        """All subsets."""
        bench = load_llmbar(path)
        return Loaded(bench, bench.data_digest, _warning(path, published=bench.is_published))

    def chosen(self, content: LLMBar, limit: int | None) -> LLMBar:
        """Instances at even distances."""
        return _restricted(content, {instance.item_id for instance in evenly(content.instances(), limit)})

    def prompts(self, content: LLMBar) -> list[Prompt]:
        """The instructions."""
        return [prompt_record(self.name, row.item_id, row.instruction) for row in content.instances()]

    async def judged(
        self, content: LLMBar, asked: Sequence[Asked], judges: Judges, who: Subject, reads: Mapping[str, Any]
    ) -> list[EvalItem]:
        """The comparisons, in both orders; what was said stays in the items' detail."""
        bench, strategy = _restricted(content, {row.item_id for row in asked}), reads["strategy"]
        reasons: dict[str, str] = {}
        if strategy == VOTES:
            run = await _by_votes(bench, judges, reasons)
        else:
            published = None if judges.prompts is None else PublishedWording(judges.prompts)
            run = await run_llmbar(
                bench, judges.engine(), strategy, evaluator_name=judges.name, published=published, seed=judges.seed
            )
        said = {transcript.judged.instance.item_id: transcript for transcript in run.transcripts}
        items = []
        for item in eval_items(run, *who):
            transcript = said[item.item_id]
            detail: dict[str, Any] = {**transcript.row, **transcript.judged.pair._asdict()}
            if (reason := transcript.row.get("refused") or reasons.get(item.item_id)) is not None:
                detail["reason"] = reason
            text = json.dumps(detail, ensure_ascii=False, sort_keys=True)
            items.append(replace(item, metric=f"{strategy}/{item.metric}", detail=text))
        return items

    def scores(
        self, content: LLMBar, items: Iterable[EvalItem], who: Subject, reads: Mapping[str, Any]
    ) -> Sequence[Score]:
        """Accuracy and agreement."""
        instances = {instance.item_id: instance for instance in content.instances()}
        tally = Tally(content, reads["evaluator"], reads["strategy"])
        for row in items:
            if not row.metric.endswith("/correct_unswapped"):
                continue
            detail = json.loads(row.detail)
            winners = (cast("Winner | None", detail["winner"]), cast("Winner | None", detail["winner_swapped"]))
            tally.add(Judged(instances[row.item_id], Pair(*winners, detail["readable"])))
            tally.cut.add("length" if detail.get("truncated") else "stop")
        return [score._replace(metric=f"{reads['strategy']}/{score.metric}") for score in tally.report().scores]

    def score_file(self, request: FileRequest) -> FileScores:
        """Raw texts of comparisons, ratings or debates."""
        folder = find_data(self.name, self.source, request.data_dir)
        report = score_llmbar_file(request.answers, folder, items_out=request.items)
        unscored = ", ".join(f"{count} {reason}" for reason, count in report.unscored.items())
        notes = [f"not scored: {unscored}"] if unscored else []
        if not all(run.data_is_published for run in report.runs):
            notes.append(_warning(folder, published=False))
        plain = {
            "rows": report.rows,
            "runs": [_plain_run(run) for run in report.runs],
            "unscored": dict(report.unscored),
        }
        sections = tuple((f"llmbar {run.evaluator} {run.strategy}".rstrip(), run.scores) for run in report.runs)
        data = report.runs[0].data_digest if report.runs else ""
        return FileScores(plain, sections, tuple(notes), data)


def _part(name: str, folder: Path | None) -> Part:
    if name == VOTES:
        return Part(
            VOTES, judging={"strategy": VOTES}, votes=True, note="llmbar Votes: judged with self-play's judge prompt"
        )
    if structure_of(name) is None:
        allowed = f"{VOTES}, {', '.join(STRATEGIES)}"
        raise ConfigError(
            f"unknown LLMBar strategy {name!r}; allowed: {allowed}; with {OURS} before it, in this project's wording"
        )
    if folder is not None and not name.startswith(OURS):
        PublishedWording(folder).check(name)
        note = f"llmbar {name}: judged with the published prompt in {folder}"
        return Part(name, judging={"strategy": name}, own_prompts=True, note=note)
    ours = OURS + name.removeprefix(OURS)
    note = f"llmbar {ours}: judged with our wording, not the published prompt: not comparable with published figures"
    if not name.startswith(OURS):
        note += f"; {name} alone means the published prompt: --judge-prompts DIR gives it"
    return Part(ours, judging={"strategy": ours}, note=note)


async def _by_votes(bench: LLMBar, judges: Judges, reasons: dict[str, str]) -> LLMBarRun:
    """By the share of approving votes each output gets alone. `reasons`: takes why the votes gave one no value."""
    refiner = judges.refiner()

    async def share(instruction: str, output: str, call: str) -> float | None:
        outcome = await refiner.judge(call, instruction, output, judges.seed)
        if outcome.judgement is None:
            reasons[call.rpartition("/")[0]] = outcome.failure or "no_judgement"
            return None
        return outcome.judgement.value

    return await run_by_value(bench, share, evaluator_name=judges.name, strategy=VOTES)


def _restricted(bench: LLMBar, item_ids: set[str]) -> LLMBar:
    subsets = {name: tuple(row for row in rows if row.item_id in item_ids) for name, rows in bench.subsets.items()}
    return replace(bench, subsets=subsets)


def _warning(path: Path, *, published: bool) -> str:
    return "" if published else f"{path} is not the published data; scores are not comparable with published figures"


def _plain_run(run: LLMBarReport) -> dict[str, Any]:
    return {
        "evaluator": run.evaluator,
        "strategy": run.strategy,
        "scores": {score.metric: plain_score(score) for score in run.scores},
        "statistics": {subset: asdict(statistics) for subset, statistics in run.statistics.items()},
        "adversarial": None if run.adversarial is None else run.adversarial._asdict(),
        "overall": None if run.overall is None else run.overall._asdict(),
        "missing": dict(run.missing),
    }


BENCHMARK = LLMBarBenchmark()
