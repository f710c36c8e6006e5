"""What a benchmark is: one object says where its data lies, what is asked, and how answers become scores.

| class | who is asked | what it adds |
| --- | --- | --- |
| `RuleBenchmark` | the model under test | `measure`: verdicts by rule |
| `JudgedBenchmark` | the model, then a judge; or the refiner alone (`answered` false) | `judged`: a judge's verdicts |
| `Benchmark` | as its own stages say | (self-play's own benchmarks) |
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

from spar_core.engines.base import Engine
from spar_core.errors import ConfigError
from spar_core.evaluation.data_sources import Source
from spar_core.evaluation.scores import Score
from spar_core.hashing import content_id
from spar_core.records import Drop, EvalItem, ModelRole, Prompt, Response
from spar_core.roles import Refiner

_SEPARATOR = "/"


class Options(NamedTuple):
    """What of a request a benchmark may read. Empty: the benchmark's own choice."""

    limit: int | None = None
    skip_bad: bool = False
    languages: tuple[str, ...] = ()
    strategies: tuple[str, ...] = ()
    judge_prompts: Path | None = None


class Part(NamedTuple):
    """One pass of a benchmark, such as a language or a judge's strategy.

    `place` names its stages. `data` says which prompts, `judging` how they are judged: JSON values, parts of stage
    keys. `votes`: the refiner judges by votes, as in self-play. `own_prompts`: the judge is asked with the texts of
    `Options.judge_prompts`. `note`: what a reader must know of it.
    """

    place: str
    data: Mapping[str, Any] = {}
    judging: Mapping[str, Any] = {}
    votes: bool = False
    own_prompts: bool = False
    note: str = ""


class Loaded(NamedTuple):
    """A benchmark's data. `warning` says in what it is not as published; empty where it is."""

    content: Any
    digest: str
    warning: str = ""
    left_out: tuple[Drop, ...] = ()


class Asked(NamedTuple):
    """What became of one prompt: the answer, or the reason why there is none."""

    item_id: str
    response: Response | None
    reason: str


class Subject(NamedTuple):
    """Whose scores they are."""

    role: ModelRole
    model_digest: str


class Measurement(NamedTuple):
    """Verdicts by item, and the scores over them."""

    items: Sequence[EvalItem]
    scores: Sequence[Score]


class Judges(Protocol):
    """Who may be asked for verdicts."""

    @property
    def name(self) -> str:
        """The judge as the user calls it."""
        ...

    @property
    def seed(self) -> int:
        """The run's."""
        ...

    @property
    def prompts(self) -> Path | None:
        """The user's folder of judge prompts; null: the benchmark's own."""
        ...

    def engine(self) -> Engine:
        """The judge's engine."""
        ...

    def refiner(self) -> Refiner:
        """The refiner as self-play asks it."""
        ...


class FileRequest(NamedTuple):
    """A file to score. `prompts` and `data_dir` say where the benchmark lies, `judge` who wrote the judgements."""

    answers: Path
    items: Path | None = None
    prompts: Path | None = None
    data_dir: Path | None = None
    judge: str | None = None
    skip_bad: bool = False


class FileScores(NamedTuple):
    """What a file came to: JSON-like values, the scores by title, and what a reader must know (warnings)."""

    plain: dict[str, Any]
    sections: tuple[tuple[str, tuple[Score, ...]], ...]
    notes: tuple[str, ...]
    data_digest: str
    judge: str | None = None
    left_out: tuple[Drop, ...] = ()


class Benchmark(ABC):
    """What every benchmark says of itself. `subject`: whose scores they are, unless the model is a registered one."""

    name: str
    subject: ModelRole = "actor"
    summary: str
    """One line: who or what decides, and the scores."""
    version: int = 1
    """Raise it when its code gives other results: it is part of the stages' keys."""
    in_all: ClassVar[bool] = True
    """Part of `spar eval all`."""
    answered: ClassVar[bool] = False
    """The model under test answers prompts, in the way the request says (temperature, samples, ...)."""
    source: Source | None = None
    """Where its data lies; null for self-play's own held-out prompts."""
    takes_prompts: ClassVar[bool] = False
    """Other prompts in the same row format may be given (`--prompts`)."""
    headlines: tuple[str, ...] = ()
    """Metrics that sum it up."""

    def score_file(self, request: FileRequest) -> FileScores:
        """Score answers or judgements made elsewhere; the items go to `request.items` where it is given.

        Raises:
            ConfigError: this benchmark needs a model.
            DataError: naming file and line, or saying which data is missing.
        """
        raise ConfigError(f"`{self.name}` needs a model: --model; it scores no files")

    @property
    def scores_files(self) -> bool:
        """Whether it scores answers made elsewhere."""
        return type(self).score_file is not Benchmark.score_file


class AskedBenchmark(Benchmark):
    """A benchmark that is its data and what is made of the answers to it; the stages are the same for all."""

    source: Source
    answered: ClassVar[bool] = True
    """The model under test answers the prompts first."""
    multi_turn: ClassVar[bool] = False
    """Prompts are turns of chats (`chat_of`), each answered with those before it in the chat."""

    def chat_of(self, item: str) -> str:
        """The chat that an item is a turn of, by name; its turns stand together in `prompts`, in order."""
        return item

    def parts(self, options: Options) -> tuple[Part, ...]:
        """The passes asked for.

        Raises:
            ConfigError: an option this benchmark cannot follow.
        """
        return (Part(self.name),)

    @abstractmethod
    def load(self, path: Path, reads: Mapping[str, Any]) -> Loaded:
        """Read the data. `reads`: the part's `data`, and `skip_bad` where bad rows are to be left out.

        Raises:
            DataError: missing or malformed; names file and line.
        """

    @abstractmethod
    def chosen(self, content: Any, limit: int | None) -> Any:
        """The content cut to `limit` items at even distances; all of it where that is null."""

    @abstractmethod
    def prompts(self, content: Any) -> list[Prompt]:
        """What is asked, one prompt per item (`prompt_record`)."""

    def filed_as(self, reads: Mapping[str, Any]) -> str:
        """The benchmark's name in `eval_scores`."""
        return self.name


class RuleBenchmark(AskedBenchmark):
    """Verdicts by rule."""

    @abstractmethod
    def measure(self, content: Any, asked: Sequence[Asked], who: Subject) -> Measurement:
        """Verdicts and scores; an item without an answer has its reason in `detail`."""


class JudgedBenchmark(AskedBenchmark):
    """Verdicts by a judge."""

    judge: ClassVar[Literal["judge", "refiner"]] = "judge"
    """The role of who is asked for verdicts."""

    @abstractmethod
    async def judged(
        self, content: Any, asked: Sequence[Asked], judges: Judges, who: Subject, reads: Mapping[str, Any]
    ) -> list[EvalItem]:
        """Verdicts on these items, made in one shard.

        Raises:
            EngineUnavailableError: the judge gave no answer after all retries.
        """

    @abstractmethod
    def scores(
        self, content: Any, items: Iterable[EvalItem], who: Subject, reads: Mapping[str, Any]
    ) -> Sequence[Score]:
        """The scores over all verdicts."""


def prompt_record(benchmark: str, item: str, text: str, constraints: Iterable[Any] = ()) -> Prompt:
    """A benchmark's prompt; equal texts stay separate items."""
    source = f"{benchmark}{_SEPARATOR}{item}"
    return Prompt(content_id("benchmark", source, text), text, tuple(constraints), "test", source)


def item_id(prompt: Prompt) -> str:
    """The benchmark's own name of a prompt: its `source` is BENCHMARK/ITEM."""
    return prompt.source.partition(_SEPARATOR)[2]


def evenly(items: Sequence[Any], limit: int | None) -> list[Any]:
    """`limit` items at even distances, so that every part of a benchmark is met; all where it is null."""
    if limit is None or limit >= len(items):
        return list(items)
    return [items[index * len(items) // limit] for index in range(limit)]


def plain_score(score: Score) -> dict[str, Any]:
    """JSON-like values of a score."""
    values = {"value": score.value, "ci_low": score.ci_low, "ci_high": score.ci_high, "n": score.n}
    return {**values, "unscored": score.unscored}


def left_out_note(left_out: Sequence[Drop]) -> str:
    """What to say of bad rows that were left out; empty where there were none."""
    return f"{len(left_out)} bad rows are left out; the first: {left_out[0].detail}" if left_out else ""
