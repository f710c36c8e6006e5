"""What `spar eval` asks of the benchmarks' flow, and what it gets back."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator

import flows.benchmarking.own  # noqa: F401 - makes them known
from flows.showing.evaluation_record import EvaluationRecord
from flows.showing.score_rows import ScoreRow, rows_of_records
from flows.wiring.models import ServerOptions, check_options, default_configuration
from flows.wiring.request import Override, Reference
from spar_core.benchmarks import UnknownBenchmarkError, benchmark, names
from spar_core.config.loading import load_config
from spar_core.config.run import RunConfig
from spar_core.records import EvalScore, ModelRole
from storage.home import Home

ALL = "all"


class BenchmarkRequest(BaseModel):
    """Which benchmark, on which models, and how much of it."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True)

    benchmark: str
    """A benchmark's name; `all`: every one that is part of it (all but `ability`)."""
    model: Reference
    """Model under test."""
    home: str
    """Home folder of the artifacts."""
    refiner: Reference | None = None
    """Who compares (llmbar) or mends (refinement); null: the model."""
    judge: Reference | None = None
    """Who judges FollowBench; null: the refiner."""
    role: ModelRole | None = None
    """Role the model's scores are filed under; null: by its registered name, else actor (refiner for llmbar)."""
    limit: int | None = Field(default=None, ge=1)
    """Evenly chosen items; null: all."""
    prompts: str | None = None
    """Other prompts for ifeval or ifbench."""
    skip_bad: bool = False
    """Leave bad rows of the prompts out, counted, instead of stopping."""
    data_dir: str | None = None
    """Folder of the benchmarks' data."""
    strategies: tuple[str, ...] = ()
    """LLMBar strategies; empty: the refiner's votes, and ours-Vanilla."""
    judge_prompts: str | None = None
    """Folder of the published judge prompts, or of FollowBench's in other words; null: this project's wording."""
    languages: tuple[str, ...] = ()
    """Languages of FollowBench (`en`, `zh`), M-IFEval or Multi-IF; empty: all of the benchmark's."""
    max_tokens: int = Field(default=2048, ge=1)
    """Limit of new tokens per answer."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    """Softmax temperature of the answers; null: 0 (greedy), for `starter` that of self-play's evaluation."""
    top_p: float | None = Field(default=None, gt=0, le=1)
    """Nucleus mass of the answers; null: 1, for `starter` that of self-play's evaluation."""
    samples: int | None = Field(default=None, ge=1, le=64)
    """Answers per item; null: 1, for `starter` those of self-play's evaluation."""
    pass_k: tuple[int, ...] = ()
    """The k of pass^k and pass@k; empty: 2, 4, 8, ... and all samples."""
    seed: int | None = Field(default=None, ge=0)
    """Seed of the answers, and of a judge; null: the configuration's."""
    system: str = Field(default="", max_length=100_000)
    """Text ahead of every prompt, in the system's turn."""
    chat_template: str | None = Field(default=None, min_length=1)
    """Chat template of the model under test: its text, or the name of another that its tokenizer brings."""
    timeout_s: float | None = Field(default=None, gt=0, le=86400)
    """Seconds one request to a server given by its address may take; null: the engine's default."""
    retries: int | None = Field(default=None, ge=0, le=100)
    """Attempts after the first at such a server; null: the engine's default."""
    max_wait_s: float | None = Field(default=None, gt=0, le=604800)
    """Seconds a request may be put off in all while such a server is busy; null: the engine's default."""
    fresh: bool = False
    """Take servers for new ones: nothing they answered earlier is reused."""
    model_digest: str | None = Field(default=None, min_length=1)
    """Identity of the weights of the one server that is named; null: found by asking it."""
    unsafe_code: bool = False
    """`ability`: also HumanEval, which executes what the model writes."""
    preset: str | None = None
    """Configuration of engine and method; null: what suits the model."""
    config_file: str | None = None
    """A YAML file of the same."""
    overrides: tuple[Override, ...] = ()
    """`key.path=value` strings."""

    @field_validator("benchmark")
    @classmethod
    def _known(cls, name: str) -> str:
        if name != ALL and name not in names():
            raise UnknownBenchmarkError(f"there is no benchmark {name!r}; there are {', '.join(names())}")
        return name

    def configuration(self) -> RunConfig:
        """The configuration whose `method`, `engine`, `evaluation` and `seed` count here."""
        overrides = self.overrides if self.seed is None else (*self.overrides, f"seed={self.seed}")
        if self.preset is None and self.config_file is None:
            return load_config(base=default_configuration(self.model, Home(self.home)), overrides=overrides)
        return load_config(self.preset, Path(self.config_file) if self.config_file else None, overrides)

    def servers(self) -> ServerOptions:
        """What is said of the servers that are named.

        Raises:
            ConfigError: one identity is stated for several servers, or for none.
        """
        options = ServerOptions(self.timeout_s, self.retries, self.max_wait_s, self.fresh, self.model_digest)
        check_options(options, (self.model, self.refiner, self.judge))
        return options

    def names(self) -> tuple[str, ...]:
        """The benchmarks asked for."""
        if self.benchmark != ALL:
            return (self.benchmark,)
        return tuple(name for name in names() if benchmark(name).in_all)


class BenchmarkResult(NamedTuple):
    """The scores, who judged, and what a reader must know."""

    run_id: str
    scores: tuple[EvalScore, ...]
    judge: str | None
    notes: tuple[str, ...]
    licences: tuple[str, ...]
    sampling: Mapping[str, Any]
    settings: str
    seed: int
    data: Mapping[str, Mapping[str, Any]]
    left_out: Mapping[str, int]

    def rows(self) -> list[ScoreRow]:
        """The scores as rows of a table."""
        return rows_of_records(self.scores)

    def plain(self, request: BenchmarkRequest) -> dict[str, Any]:
        """JSON-like values."""
        record = EvaluationRecord(
            request.benchmark,
            self.rows(),
            self.notes,
            request.model_dump(mode="json", exclude={"home"}),
            self.data,
            self.left_out,
            self.judge,
            self.run_id,
            {**self.sampling, "settings": self.settings},
            request.limit,
            self.seed,
        )
        return record.plain()
