"""The declarative file of an experiment: what is compared with what, and on which settings."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from flows.wiring.request import Run, RunRequest
from spar_core.errors import ConfigError
from spar_core.hashing import digest
from spar_core.secrets import redacted

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=60)]
Budget = Annotated[int, Field(ge=1, le=4096)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, populate_by_name=True)


class SearchCurve(_Section):
    """Test-time search measured at several budgets, after the runs."""

    budgets: Annotated[tuple[Budget, ...], Field(min_length=1)] = (1, 3, 7, 15, 31)
    """Rewrites allowed per failing answer."""
    strategies: Annotated[tuple[Literal["bfs", "dfs", "chain"], ...], Field(min_length=1)] = ("bfs", "dfs")
    """Strategies to measure; `chain` rewrites the last rewrite until one is accepted."""
    prompts: Annotated[int, Field(ge=1)] = 300
    """Evaluation prompts whose first answer is judged and, if it fails, searched from."""
    iterations: Annotated[tuple[Annotated[int, Field(ge=0)] | Literal["last"], ...], Field(min_length=1)] = (0, "last")
    """Whose models are measured; `last` is the run's last iteration."""
    variants: tuple[str, ...] | None = None
    """Variants to measure; null: the first of the file."""

    def iterations_of(self, run: Run) -> list[int]:
        """The iterations of a run whose models are measured, none twice."""
        last = run.config.iterations
        return sorted({last if number == "last" else number for number in self.iterations})


class Specification(_Section):
    """One experiment: every variant is run with every seed."""

    name: Name
    """Names the experiment and its folder."""
    title: str | None = None
    """Heading of the result page; null: the name."""
    description: str = ""
    """What is asked; stands at the top of the result page."""
    preset: str | None = None
    """Preset that all variants start from; `starter` when no config is given either."""
    config: str | None = None
    """Configuration file that all variants start from, relative to the experiment's file."""
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**31)], ...], Field(min_length=1)] = (0,)
    """Seeds of the runs."""
    only_seeds: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    """By variant: those of the seeds it is run with, where fewer will do; the others are run with all."""
    overrides: dict[str, Any] = Field(default_factory=dict, alias="set")
    """`set`: values for all variants, by dotted key."""
    variants: Annotated[dict[Name, dict[str, Any]], Field(min_length=1)]
    """Name of each variant, and its own values by dotted key."""
    baseline: str | None = None
    """Every other variant is compared with this one."""
    compare: tuple[tuple[str, str], ...] = ()
    """Further comparisons: [variant, baseline]. With neither, the first variant is compared with each other."""
    search_curve: SearchCurve | None = None
    """Measure test-time search as well; null: no."""

    @field_validator("variants", mode="before")
    @classmethod
    def _empty_variants(cls, value: Any) -> Any:
        """`spar:` without values is a variant too."""
        if isinstance(value, Mapping):
            return {name: {} if given is None else given for name, given in value.items()}
        return value

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        named = [("baseline", self.baseline)] if self.baseline else []
        named += [("compare", name) for pair in self.compare for name in pair]
        named += [("search_curve.variants", name) for name in (self.search_curve and self.search_curve.variants) or ()]
        named += [("only_seeds", name) for name in self.only_seeds]
        for key, name in named:
            if name not in self.variants:
                raise ValueError(f"{key}: there is no variant {name!r}; the variants are {', '.join(self.variants)}")
        for first, second in self.compare:
            if first == second:
                raise ValueError(f"compare: {first!r} is compared with itself; name two variants")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds: {list(self.seeds)} holds a seed twice; every seed is one run per variant")
        for name, own in self.only_seeds.items():
            if not own or not set(own) <= set(self.seeds):
                raise ValueError(f"only_seeds.{name}: {list(own)} is no choice of the seeds {list(self.seeds)}")
        return self

    def seeds_of(self, variant: str) -> tuple[int, ...]:
        """The seeds that a variant is run with."""
        wanted = self.only_seeds.get(variant, self.seeds)
        return tuple(seed for seed in self.seeds if seed in wanted)

    @property
    def comparisons(self) -> list[tuple[str, str]]:
        """(variant, baseline) of every comparison, none twice."""
        found = [(name, self.baseline) for name in self.variants if self.baseline and name != self.baseline]
        found += self.compare
        if not found:
            first, *others = self.variants
            found = [(first, other) for other in others]
        return list(dict.fromkeys(found))

    @property
    def curve_variants(self) -> tuple[str, ...]:
        """Variants whose search curve is measured."""
        if self.search_curve is None:
            return ()
        return self.search_curve.variants or (next(iter(self.variants)),)


class PlannedRun(NamedTuple):
    """One run of an experiment."""

    variant: str
    seed: int
    request: RunRequest
    run: Run


class Experiment(NamedTuple):
    """An experiment ready to run: the file, the text of it, and its runs, those of one seed together."""

    specification: Specification
    file: Path
    text: str
    given: tuple[str, ...]
    runs: tuple[PlannedRun, ...]

    @property
    def run_id(self) -> str:
        """Names the whole in the ledger and in MLflow: the same runs and measurements have the same id."""
        curve = self.specification.search_curve
        runs = [[planned.variant, planned.seed, planned.run.run_id] for planned in self.runs]
        content = [runs, None if curve is None else [curve.model_dump(), self.specification.curve_variants]]
        return f"experiment-{self.specification.name}-{digest(content)[:8]}"


def load_experiment(
    file: Path, home: str | None = None, overrides: Iterable[str] = (), seeds: Iterable[int] | None = None
) -> Experiment:
    """Read and validate an experiment's file, and resolve the configuration of each of its runs.

    Args:
        file: YAML in the shape of `Specification`.
        home: home folder of the runs.
        overrides: `key.path=value` strings for all variants, above the file's `set`; a variant's own values win.
        seeds: instead of the file's.

    Raises:
        ConfigError: naming the key, or the variant whose configuration is wrong.
    """
    text, values = _read(file)
    try:
        specification = Specification.model_validate(values)
        if seeds is not None:
            asked = Specification.model_validate({**values, "seeds": list(seeds), "only_seeds": {}})
            specification = specification.model_copy(update={"seeds": asked.seeds})
    except ValidationError as error:
        raise ConfigError(f"experiment {file} is not valid:\n  " + "\n  ".join(_explained(error))) from error
    given = tuple(overrides)
    runs = [
        _planned(specification, file, home, given, variant, seed)
        for seed in specification.seeds  # stages that variants share belong to one seed: computed by the first
        for variant in specification.variants
        if seed in specification.seeds_of(variant)
    ]
    if not runs:
        raise ConfigError(f"experiment {file}: only_seeds leaves no run for the seeds {list(specification.seeds)}")
    _check_apart(file, runs)
    return Experiment(specification, file, text, given, tuple(runs))


def curve_run_id(run_id: str) -> str:
    """The run under which a self-play run's search curve is entered: apart from what the run itself cost."""
    return f"{run_id}-search"


def override_texts(values: Mapping[str, Any]) -> list[str]:
    """Values by dotted key as `key.path=value` strings."""
    return [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]


def _planned(
    specification: Specification, file: Path, home: str | None, given: tuple[str, ...], variant: str, seed: int
) -> PlannedRun:
    own = override_texts(specification.variants[variant])
    request = RunRequest(
        preset=specification.preset,
        config_file=str((file.parent / specification.config).absolute()) if specification.config else None,
        overrides=[*override_texts(specification.overrides), *given, *own, f"seed={seed}"],
        home=home,
    )
    try:
        run = request.resolve()
    except ConfigError as error:
        raise ConfigError(f"experiment {file}, variant {variant!r}: {error}") from error
    if not run.config.evaluation.enabled:
        raise ConfigError(
            f"experiment {file}, variant {variant!r}: evaluation.enabled is false, so there is nothing to compare; "
            "leave it on"
        )
    last = run.config.iterations
    wanted = specification.search_curve.iterations if specification.search_curve else ()
    beyond = [number for number in wanted if number != "last" and number > last]
    if beyond and variant in specification.curve_variants:
        raise ConfigError(
            f"experiment {file}: search_curve.iterations names {beyond[0]}, but variant {variant!r} ends with {last}"
        )
    return PlannedRun(variant, seed, request.model_copy(update={"run_id": run.run_id}), run)


def _check_apart(file: Path, runs: Iterable[PlannedRun]) -> None:
    """Raise where two variants would be one run that is gone through in two ways."""
    known: dict[str, PlannedRun] = {}
    for planned in runs:
        other = known.setdefault(planned.run.run_id, planned)
        if other.run.config != planned.run.config:
            raise ConfigError(
                f"experiment {file}: variants {other.variant!r} and {planned.variant!r} differ only in how the work is "
                "spread or fitted to the hardware, how many iterations there are, or when a run stops: they would be "
                "one run. Leave one out (a run shows all its iterations), or compare homes of their own"
            )


def _read(file: Path) -> tuple[str, dict[str, Any]]:
    try:
        text = file.read_text(encoding="utf-8")
        values = yaml.safe_load(text)
    except FileNotFoundError as error:
        raise ConfigError(f"experiment file {file} does not exist") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"experiment file {file} cannot be read as YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(
            f"experiment file {file}: expected key: value lines at the top, such as `name` and `variants`"
        )
    return text, values


def _explained(error: ValidationError) -> list[str]:
    lines = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"] if part != "[key]")
        if problem["type"] == "extra_forbidden":
            section = SearchCurve if problem["loc"][0] == "search_curve" else Specification
            allowed = (field.alias or name for name, field in section.model_fields.items())
            lines.append(f"{key}: unknown key; allowed here: {', '.join(sorted(allowed))}")
        elif problem["type"] == "value_error":
            lines.append(str(problem["ctx"]["error"]))
        elif problem["type"] == "missing":
            lines.append(f"{key}: is missing")
        else:
            lines.append(f"{key}: {problem['msg']}, got {redacted(problem['input'])!r}")
    return lines
