"""What `spar eval` asks of the benchmarks' flow, and what it gets back."""

from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from flows.models import ServerOptions, check_options, default_configuration
from flows.request import Override, Reference
from flows.score_rows import ScoreRow, rows_of_records
from spar_core.config.loading import load_config
from spar_core.config.run import RunConfig
from spar_core.records import EvalScore, ModelRole
from storage.home import Home

_ALL = ("ifeval", "ifbench", "followbench", "llmbar", "starter", "refinement")


class BenchmarkRequest(BaseModel):
    """Which benchmark, on which models, and how much of it."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True)

    benchmark: Literal["ifeval", "ifbench", "followbench", "llmbar", "starter", "refinement", "ability", "all"]
    """`all`: every one but `ability`."""
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
    data_dir: str | None = None
    """Folder of the benchmarks' data."""
    strategies: tuple[str, ...] = ()
    """LLMBar strategies; empty: the refiner's votes, and Vanilla."""
    languages: tuple[Literal["en", "zh"], ...] = ()
    """FollowBench languages; empty: both."""
    max_tokens: int = Field(default=2048, ge=1)
    """Limit of new tokens per answer."""
    timeout_s: float | None = Field(default=None, gt=0, le=86400)
    """Seconds one request to a server given by its address may take; null: the engine's default."""
    retries: int | None = Field(default=None, ge=0, le=100)
    """Attempts after the first at such a server; null: the engine's default."""
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

    def configuration(self) -> RunConfig:
        """The configuration whose `method`, `engine`, `evaluation` and `seed` count here."""
        if self.preset is None and self.config_file is None:
            return load_config(base=default_configuration(self.model, Home(self.home)), overrides=self.overrides)
        return load_config(self.preset, Path(self.config_file) if self.config_file else None, self.overrides)

    def servers(self) -> ServerOptions:
        """What is said of the servers that are named.

        Raises:
            ConfigError: one identity is stated for several servers, or for none.
        """
        options = ServerOptions(self.timeout_s, self.retries, self.fresh, self.model_digest)
        check_options(options, (self.model, self.refiner, self.judge))
        return options

    def names(self) -> tuple[str, ...]:
        """The benchmarks asked for."""
        return _ALL if self.benchmark == "all" else (self.benchmark,)


class BenchmarkResult(NamedTuple):
    """The scores, who judged, and what a reader must know."""

    run_id: str
    scores: tuple[EvalScore, ...]
    judge: str | None
    notes: tuple[str, ...]
    licences: tuple[str, ...]

    def rows(self) -> list[ScoreRow]:
        """The scores as rows of a table."""
        return rows_of_records(self.scores)
