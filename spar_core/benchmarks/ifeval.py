"""IFEval: 25 kinds of checkable instructions, strict and loose. The class serves every benchmark in its row format."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

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
from spar_core.evaluation import ifeval
from spar_core.evaluation.data_sources import Source, find_data
from spar_core.evaluation.hub import HubFile
from spar_core.evaluation.ifeval import InstructionReport, Missing, score_answers, score_file
from spar_core.evaluation.ifeval_rows import Answer, PromptSet, read_prompts
from spar_core.evaluation.row_files import row_writer
from spar_core.hashing import digest
from spar_core.records import Prompt

_FILE = "ifeval/input_data.jsonl"
_UNMATCHED_SHOWN = 10


class InstructionBenchmark(RuleBenchmark):
    """Prompts with instructions that rules check, in IFEval's row format.

    `sha256` is the published file's, `content` the digest of what its rows say (the hub's copy has other bytes).
    `missing`: what becomes of prompts without an answer, of a file as of a model.
    """

    version = 2
    takes_prompts: ClassVar[bool] = True
    headlines = (*ifeval.RATES, ifeval.UNANSWERED)

    def __init__(
        self, name: str, summary: str, source: Source, *, sha256: str, content: str, missing: Missing = "unscored"
    ) -> None:
        self.name = name
        self.summary = summary
        self.source = source
        self._published = (sha256, content)
        self._missing = missing

    def load(self, path: Path, reads: Mapping[str, Any]) -> Loaded:
        """The prompts."""
        prompts = read_prompts(path, self.name, skip_bad=bool(reads.get("skip_bad")))
        warning = ""
        if not {prompts.digest, prompt_content(prompts)} & set(self._published):
            warning = f"the prompts are not the published ones of {self.name}; "
            warning += "scores are not comparable with published figures"
        return Loaded(prompts, prompts.digest, warning, prompts.left_out)

    def chosen(self, content: PromptSet, limit: int | None) -> PromptSet:
        """Prompts at even distances."""
        return content.chosen(evenly(content.prompts, limit))

    def prompts(self, content: PromptSet) -> list[Prompt]:
        """One per row."""
        return [prompt_record(self.name, str(row.key), row.text, row.instructions) for row in content.prompts]

    def measure(self, content: PromptSet, asked: Sequence[Asked], who: Subject) -> Measurement:
        """Strict and loose verdicts; how often an answer was cut is counted by the stage."""
        given = [
            Answer(row.item_id, (content.by_key[row.item_id],), row.response.text)
            for row in asked
            if row.response is not None
        ]
        report = score_answers(content, given, self._missing)
        reasons = {row.item_id: row.reason for row in asked if row.response is None}
        items = [
            replace(item, detail=reasons[item.cluster_id]) if item.cluster_id in reasons else item
            for item in report.records(*who)
        ]
        return Measurement(items, report.scores)

    def score_file(self, request: FileRequest) -> FileScores:
        """Answers by key or by prompt."""
        path = request.prompts or find_data(self.name, self.source, request.data_dir)
        loaded = self.load(path, {"skip_bad": request.skip_bad})
        report = score_file(loaded.content, request.answers, self._missing, skip_bad=request.skip_bad)
        with row_writer(request.items) as sink:
            for item in report.items:
                reasons = [verdict.reason for verdict in item.verdicts]
                row = item.row() | {"repaired": list(item.of(ifeval.REPAIRED))}
                sink.write(row | ({"reasons": reasons} if any(reasons) else {}))
        notes = ["" if request.prompts else loaded.warning, left_out_note(loaded.left_out)]
        notes += [*self._notes(report), left_out_note(report.left_out)]
        by_metric = {score.metric: plain_score(score) for score in report.scores}
        plain = {
            **report.headline(),
            "repaired": {name: by_metric[name] for name in ifeval.REPAIRED_RATES if name in by_metric},
            "missing": report.missing,
            "unmatched": len(report.unmatched),
            "kinds": {metric: score for metric, score in by_metric.items() if "/" in metric},
        }
        sections = ((self.name, report.scores),)
        shown = tuple(note for note in notes if note)
        return FileScores(plain, sections, shown, loaded.digest, left_out=(*loaded.left_out, *report.left_out))

    def _notes(self, report: InstructionReport) -> list[str]:
        notes = []
        if report.missing:
            what = "count as failed, as in the reference" if self._missing == "failed" else "are left out of the scores"
            notes.append(f"{report.missing} of {len(report.items)} prompts have no answer and {what}")
        if report.unmatched:
            shown = ", ".join(where.rpartition(", ")[2] for where in report.unmatched[:_UNMATCHED_SHOWN])
            more = " and more" if len(report.unmatched) > _UNMATCHED_SHOWN else ""
            notes.append(f"{len(report.unmatched)} rows answer no prompt of the set: {shown}{more}")
        open_checks = sum(v.reason.startswith("check_timeout") for item in report.items for v in item.verdicts)
        if open_checks:
            notes.append(f"{open_checks} checks were stopped at their time limit and are left out of the scores")
        return notes


def prompt_content(prompts: PromptSet) -> str:
    """Digest of keys, texts and instructions, whatever file they came from."""
    return digest([[str(p.key), p.text, [[i.kind, i.kwargs] for i in p.instructions]] for p in prompts.prompts])


BENCHMARK = InstructionBenchmark(
    "ifeval",
    "rules (25 kinds): `prompt_*`, `instruction_*`, strict and loose; per kind",
    Source(
        "IFEval data: CC BY 4.0, Google Research (google-research/instruction_following_eval)",
        (Path(_FILE),),
        (HubFile(_FILE, "google/IFEval"),),
    ),
    sha256="67ffeee0fcb87c317c5b08a2de85557b4a7e96ada6178aa645b4954fe4b53d49",
    content="3c4bd6c40decdb36c8fe033ff1af240b",
)
