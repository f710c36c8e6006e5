"""M-IFEval: the instructions of IFEval in French, Spanish and Japanese, and instructions of each language's own.

One pass per language, each filed as a benchmark (`m_ifeval-fr`, ...), with the scores of IFEval.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from spar_core.benchmarks.ifeval import InstructionBenchmark
from spar_core.benchmarks.plugin import (
    FileRequest,
    FileScores,
    Loaded,
    Options,
    Part,
    left_out_note,
    plain_score,
)
from spar_core.constraints.multilingual import french, japanese, spanish
from spar_core.constraints.multilingual.resources import require_packages
from spar_core.errors import ConfigError, DataError
from spar_core.evaluation.data_sources import Source, find_data
from spar_core.evaluation.hub import HubFile
from spar_core.evaluation.ifeval import MISSING_ANSWER, UNANSWERED, PromptVerdicts, item_scores, score_file
from spar_core.evaluation.ifeval_rows import PromptSet, read_prompts
from spar_core.evaluation.open_instructions import open_note
from spar_core.evaluation.row_files import row_writer
from spar_core.evaluation.scores import Score, share_score
from spar_core.evaluation.truncation import TRUNCATED
from spar_core.hashing import digest

LANGUAGES = {"es": spanish, "fr": french, "ja": japanese}
_FILES = "https://raw.githubusercontent.com/lightblue-tech/M-IFEval/main/data"
_UNKNOWN = "whether these are the published prompts is not known here: compare the data's digest with that of others"


class MIFEvalBenchmark(InstructionBenchmark):
    """Items are LANGUAGE/KEY, since the languages number their prompts alike."""

    version = 1
    in_all: ClassVar[bool] = False
    takes_prompts: ClassVar[bool] = False

    def parts(self, options: Options) -> tuple[Part, ...]:
        """The languages asked for, all by default."""
        unknown = [language for language in options.languages if language not in LANGUAGES]
        if unknown:
            raise ConfigError(f"M-IFEval has no language {unknown[0]!r}; it has {', '.join(LANGUAGES)}")
        return tuple(
            Part(f"{self.name}-{language}", {"language": language}) for language in options.languages or LANGUAGES
        )

    def filed_as(self, reads: Mapping[str, Any]) -> str:
        """Each language is filed as a benchmark."""
        return f"{self.name}-{reads['language']}"

    def load(self, path: Path, reads: Mapping[str, Any]) -> Loaded:
        """The prompts of one language."""
        language = reads["language"]
        file = _file(path, language)
        if not file.is_file():
            raise DataError(f"{file} is missing: give it, or leave {language!r} out with --language")
        found = read_prompts(file, self.filed_as(reads), lenient=True)
        prompts = found.chosen([replace(prompt, key=f"{language}/{prompt.key}") for prompt in found.prompts])
        require_packages(i.kind for prompt in prompts.prompts for i in prompt.instructions)
        note = open_note(prompts)
        return Loaded(prompts, prompts.digest, "; ".join(filter(None, [_UNKNOWN, note])))

    def score_file(self, request: FileRequest) -> FileScores:
        """Answers by key (LANGUAGE/KEY) or by prompt; languages of which no prompt is answered are left out."""
        folder = find_data(self.name, self.source, request.data_dir)
        given = {name: self.load(folder, {"language": name}) for name in LANGUAGES if _file(folder, name).is_file()}
        if not given:
            raise DataError(f"{folder} holds none of {', '.join(_file(folder, name).name for name in LANGUAGES)}")
        report = score_file(_merged(self.name, given), request.answers, skip_bad=request.skip_bad)
        sections: dict[str, tuple[Score, ...]] = {}
        notes, scored = [_UNKNOWN], list[PromptVerdicts]()
        for language, loaded in given.items():
            keys = {str(prompt.key) for prompt in loaded.content.prompts}
            items = [item for item in report.items if str(item.key) in keys]
            missing = sum(all(verdict.reason == MISSING_ANSWER for verdict in item.verdicts) for item in items)
            if missing == len(items):
                notes.append(f"{language}: no prompt is answered: this language is not part of the scores")
                continue
            scored += items
            lacking = [share_score(UNANSWERED, missing, len(items), 0)] if missing else []
            sections[f"{self.name}-{language}"] = (*item_scores(items), *lacking)
            notes += [open_note(loaded.content)]
            if missing:
                notes.append(f"{language}: {missing} of {len(items)} prompts have no answer and are left out")
        _write(request.items, scored)
        notes += [*self._notes(replace(report, missing=0)), left_out_note(report.left_out)]
        cut = tuple(score for score in report.scores if score.metric == TRUNCATED)
        plain = {name: {score.metric: plain_score(score) for score in scores} for name, scores in sections.items()}
        shown = [*sections.items(), *([("answers", cut)] if cut else [])]
        data = digest(sorted(loaded.digest for loaded in given.values()))
        told = tuple(note for note in notes if note)
        return FileScores(plain, tuple(shown), told, data, left_out=tuple(report.left_out))


def _file(folder: Path, language: str) -> Path:
    return folder / f"{language}_input_data.jsonl"


def _merged(name: str, given: Mapping[str, Loaded]) -> PromptSet:
    every = [prompt for loaded in given.values() for prompt in loaded.content.prompts]
    return PromptSet(name, (), "", {}, {}, lenient=True).chosen(every)


def _write(path: Path | None, items: Sequence[PromptVerdicts]) -> None:
    with row_writer(path) as sink:
        for item in items:
            reasons = [verdict.reason for verdict in item.verdicts]
            sink.write(item.row() | ({"reasons": reasons} if any(reasons) else {}))


BENCHMARK = MIFEvalBenchmark(
    "m_ifeval",
    "rules of French, Spanish, Japanese (extra `multilingual`): `prompt_*`, `instruction_*`, strict, loose; per kind",
    Source(
        "M-IFEval data: Apache 2.0, Lightblue (lightblue-tech/M-IFEval)",
        (Path("m_ifeval", "data"), Path("m_ifeval")),
        tuple(
            HubFile(f"m_ifeval/{language}_input_data.jsonl", "json", f"{_FILES}/{language}_input_data.jsonl")
            for language in LANGUAGES
        ),
    ),
    sha256="",
    content="",
)
