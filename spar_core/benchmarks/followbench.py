"""FollowBench: five levels of constraints, English and Chinese; rules where they decide, a judge elsewhere."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

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
from spar_core.evaluation.followbench import FollowBench, FollowBenchReport, load_followbench, score_file
from spar_core.evaluation.followbench.dataset import CATEGORIES, LANGUAGES, LICENCE, Language
from spar_core.evaluation.followbench.judging import has_judge_texts, judge_texts
from spar_core.evaluation.followbench.runner import (
    JUDGE_TRUNCATED,
    Transcript,
    eval_items,
    judge_answers,
    outcomes,
    unanswered,
)
from spar_core.evaluation.followbench.scoring import NOT_IN_FORM, Tally
from spar_core.evaluation.hub import HubFile
from spar_core.evaluation.scores import Score
from spar_core.evaluation.truncation import Truncation
from spar_core.hashing import digest
from spar_core.records import EvalItem, Prompt

_HUB = tuple(
    HubFile(
        f"followbench/{ours}/{name}_constraints.json", "YuxinJiang/FollowBench", f"{theirs}/{name}_constraints.json"
    )
    for ours, theirs in (("data", "data_en"), ("data_zh", "data_zh"))
    for name in CATEGORIES
)


class FollowBenchBenchmark(JudgedBenchmark):
    """One pass per language."""

    name = "followbench"
    summary = (
        "rules where they decide, a judge elsewhere; English and Chinese: `hsr`, `ssr`, `csl`; per category, level"
    )
    source = Source(LICENCE, (Path("followbench"),), _HUB)
    headlines = ("hsr", "ssr", "csl")

    def parts(self, options: Options) -> tuple[Part, ...]:
        """The languages asked for, both by default."""
        unknown = [language for language in options.languages if language not in LANGUAGES]
        if unknown:
            raise ConfigError(f"FollowBench has no language {unknown[0]!r}; it has {', '.join(LANGUAGES)}")
        return tuple(_part(cast("Language", name), options) for name in options.languages or LANGUAGES)

    def load(self, path: Path, reads: Mapping[str, Any]) -> Loaded:
        """One language."""
        bench = load_followbench(path, reads["language"])
        return Loaded(bench, bench.data_digest, _warning(path, published=bench.is_published))

    def chosen(self, content: FollowBench, limit: int | None) -> FollowBench:
        """`limit` counts rows, groups stay whole."""
        groups = list(dict.fromkeys(key[:2] for key in content.items))
        chosen = set(evenly(groups, None if limit is None else max(1, limit // 5)))
        return replace(content, items={key: item for key, item in content.items.items() if key[:2] in chosen})

    def prompts(self, content: FollowBench) -> list[Prompt]:
        """The rows of level 1 and up."""
        return [prompt_record(self.name, item.item_id, item.instruction) for item in content.asked()]

    def filed_as(self, reads: Mapping[str, Any]) -> str:
        """Each language is filed as a benchmark."""
        return f"{self.name}-{reads['language']}"

    async def judged(
        self, content: FollowBench, asked: Sequence[Asked], judges: Judges, who: Subject, reads: Mapping[str, Any]
    ) -> list[EvalItem]:
        """Rules or the judge; what the judge said stays in the items' detail."""
        by_id = {item.item_id: item for item in content.asked()}
        answers = {by_id[row.item_id].key: row.response.text for row in asked if row.response is not None}
        texts = judge_texts(content.language, judges.prompts)
        said = await judge_answers(content, answers, judges.engine(), texts=texts, seed=judges.seed)
        spoken: dict[str, Transcript] = {transcript.outcome.item.item_id: transcript for transcript in said}
        return [
            item
            for row in asked
            for item in eval_items(
                spoken.get(row.item_id) or unanswered(by_id[row.item_id]),
                *who,
                judges.name,
                "" if row.response is not None else row.reason,
            )
        ]

    def scores(
        self, content: FollowBench, items: Iterable[EvalItem], who: Subject, reads: Mapping[str, Any]
    ) -> Sequence[Score]:
        """HSR, SSR and CSL."""
        tally, cut = Tally(content), Truncation()
        for outcome in outcomes(content, items):
            tally.add(outcome)
            if not outcome.item.by_rule and outcome.reason in ("", JUDGE_TRUNCATED, NOT_IN_FORM):
                cut.add("length" if outcome.reason == JUDGE_TRUNCATED else "stop")
        return (*tally.report().scores, *cut.scores(JUDGE_TRUNCATED))

    def score_file(self, request: FileRequest) -> FileScores:
        """Rows of answers and judge texts, or whole runs."""
        folder = find_data(self.name, self.source, request.data_dir)
        report = score_file(request.answers, folder, items_out=request.items, judge_name=request.judge)
        unscored = ", ".join(f"{count} {reason}" for reason, count in report.unscored.items())
        notes = [*report.judge.warnings, *([f"not scored: {unscored}"] if unscored else [])]
        if not all(run.data_is_published for run in report.runs):
            notes.append(_warning(folder, published=False))
        plain = {
            "rows": report.rows,
            "runs": [_plain_run(run) for run in report.runs],
            "judge_texts": {score.metric: plain_score(score) for score in report.judge_texts},
            "unscored": dict(report.unscored),
        }
        sections = [(f"followbench-{run.language} {run.run}".strip(), run.scores) for run in report.runs]
        if report.judge_texts:
            sections.append(("judge texts", report.judge_texts))
        data = digest(sorted({run.data_digest for run in report.runs}))
        return FileScores(plain, tuple(sections), tuple(notes), data, report.judge.name)


def _part(language: Language, options: Options) -> Part:
    folder = options.judge_prompts
    own = folder is not None and has_judge_texts(language, folder)
    place = f"followbench-{language}"
    asked = f"the judge is asked with the texts in {folder}" if own else "the judge is asked in this project's wording"
    note = f"{place}: {asked}" + ("" if own else ", not the published prompt: not comparable with published figures")
    return Part(place, {"language": language}, own_prompts=own, note=note)


def _warning(path: Path, *, published: bool) -> str:
    return "" if published else f"{path} is not the published data; scores are not comparable with published figures"


def _plain_run(run: FollowBenchReport) -> dict[str, Any]:
    published = {
        category: {"hsr": list(scores.hsr), "ssr": None if scores.ssr is None else list(scores.ssr), "csl": scores.csl}
        for category, scores in (run.published or {}).items()
    }
    return {
        "run": run.run,
        "language": run.language,
        "scores": {score.metric: plain_score(score) for score in run.scores},
        "published": published or None,
        "published_level_weighted": None if run.published_level_weighted is None else {**run.published_level_weighted},
        "unscored": dict(run.unscored),
    }


BENCHMARK = FollowBenchBenchmark()
