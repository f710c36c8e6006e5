"""Probes of models: which prompt set and token limits fit them, found again in the home; what a run asks first."""

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple

from flows.wiring.handovers import Models
from flows.wiring.models import Served
from flows.wiring.request import Run
from spar_core.config.run import RunConfig
from spar_core.engines.base import Engine
from spar_core.errors import DataError, FruitlessError
from spar_core.evaluation.probe import Prober, RoleProbe, SetProbe
from spar_core.evaluation.truth import sentence
from spar_core.hashing import derive_seed, digest
from spar_core.prompts import PromptLibrary
from spar_core.records import Drop, Prompt
from spar_core.starter.world import generate_prompts
from spar_core.synthesis.sources import read_prompt_rows, seed_prompts
from spar_core.synthesis.verifiable import verifiable_prompts
from storage.disk import read_json
from storage.home import Home
from tasks.engines import EnginePool
from tasks.spending import BudgetedEngine, Spending

_log = logging.getLogger(__name__)
TRIED = ("default", "plain")
"""Prompt sets that are tried beside the configured one."""
_VERSION = 1  # raised where a probe of the same model with the same settings comes out otherwise
_FILE = "probes.json"
_READABLE = 0.8  # share above which a prompt set is said to fit


class Probe(NamedTuple):
    """What was found of an actor and a refiner, by prompt set; the configured one comes first."""

    actor: RoleProbe
    sets: dict[str, SetProbe]

    @property
    def roles(self) -> list[RoleProbe]:
        """All of it: the actor, then judge and refiner of each prompt set."""
        return [self.actor, *(role for pair in self.sets.values() for role in pair)]

    @property
    def best(self) -> str:
        """The prompt set whose weaker role is the most readable; among equals the stronger role counts, then order."""
        return max(self.sets, key=lambda name: sorted(map(_share, self.sets[name])))

    @property
    def fitting(self) -> str | None:
        """The best prompt set, where most of what it is answered can be used."""
        return self.best if min(map(_share, self.sets[self.best])) >= _READABLE else None

    @property
    def limits(self) -> dict[str, int]:
        """Token limits that hardly cut, by key, under the best prompt set; those that cannot be told are left out."""
        roles = (self.actor, *self.sets[self.best])
        return {f"method.{role.limit_key}.max_tokens": role.fitting_limit for role in roles if role.fitting_limit}

    def plain(self) -> dict[str, Any]:
        """JSON-like values."""
        return {
            "roles": [role.plain() for role in self.roles],
            "best": self.best,
            "fits": self.fitting is not None,
            "limits": self.limits,
        }


def _uncounted(engine: Engine) -> Engine:
    return engine


class Probing(NamedTuple):
    """What is probed: the models with what serves them, with which requests, and as a configuration says.

    `counted`: an engine whose tokens somebody counts, in place of one.
    """

    home: Home
    config: RunConfig
    actor: Served
    refiner: Served
    prompts: Sequence[Prompt]
    counted: Callable[[Engine], Engine] = _uncounted

    def run(self, pool: EnginePool, sets: Iterable[str], *, again: bool = False) -> Probe:
        """Probe under each of these prompt sets, or find what was found before; `again` measures in any case.

        Raises:
            ConfigError: a prompt set that there is not.
            EngineError: a model that cannot be opened, or does not answer.
            BudgetError: a run's tokens are spent.
        """
        libraries = {name: PromptLibrary.load(name) for name in dict.fromkeys(sets)}
        file = self.home.models / _FILE
        found = {name: None if again else self._known(library) for name, library in libraries.items()}
        if missing := [name for name in libraries if found[name] is None]:
            made = asyncio.run(self._ask(pool, [libraries[name] for name in missing]))
            found |= dict(zip(missing, made, strict=True))
            entries = {self.key(libraries[name]): _plain(entry) for name, entry in zip(missing, made, strict=True)}
            self.home.share_json(file, {**(read_json(file) or {}), **entries})
        entries_by_set = {name: entry for name, entry in found.items() if entry is not None}
        first = next(iter(entries_by_set.values()))
        return Probe(first.actor, {name: entry.refiner for name, entry in entries_by_set.items()})

    def is_known(self) -> bool:
        """Whether the home has a probe under the configured prompt set."""
        return self._known(PromptLibrary.load(self.config.method.prompt_set)) is not None

    def _known(self, library: PromptLibrary) -> "_Entry | None":
        return _read((read_json(self.home.models / _FILE) or {}).get(self.key(library)))

    def key(self, library: PromptLibrary) -> str:
        """Identity of a probe: models, what serves them, prompts, texts and the settings that change what is said."""
        probe, method = self.config.probe, self.config.method
        votes = method.judging.votes_alone()
        asked: list[Any] = [prompt.text for prompt in self.prompts]
        if library.format.judge == "per_constraint":
            asked = [
                (prompt.text, [sentence(constraint) for constraint in prompt.constraints]) for prompt in self.prompts
            ]
        return digest(
            [
                _VERSION,
                [(served.model.digest, served.engine.identity()) for served in (self.actor, self.refiner)],
                asked,
                library.digest_of("judge", "refine"),
                [part.model_dump(mode="json") for part in (method.responses, votes, method.refinement)],
                [self.config.seed, probe.max_tokens],
            ]
        )

    async def _ask(self, pool: EnginePool, libraries: Sequence[PromptLibrary]) -> list["_Entry"]:
        config = self.config
        both = (self.actor, self.refiner)
        actor_engine, refiner_engine = (self.counted(pool.engine(*served[::-1], "probe")) for served in both)
        settings = (config.method, config.seed, config.probe.max_tokens)
        prober = Prober(actor_engine, refiner_engine, self.prompts, *settings)
        actor = await prober.actor()
        return [_Entry(actor, found) for found in await prober.prompt_sets(libraries)]


class _Entry(NamedTuple):
    """What is kept of one prompt set."""

    actor: RoleProbe
    refiner: SetProbe


def probe_prompts(config: RunConfig, source: str | None = None) -> list[Prompt]:
    """The requests of a probe: of a file where one is given or the run learns from one, else made as its prompts are.

    Those that are made are of split `dev`: a run is not trained on them.

    Raises:
        DataError: a file that cannot be read.
    """
    count, seed = config.probe.requests, derive_seed(config.seed, "probe", "prompts")
    if source is None and config.prompts.source == "file":
        source = config.prompts.path
    if source is not None:
        rows = read_prompt_rows(source, skip_bad=config.prompts.skip_bad)
        return [row.prompt for row in islice((row for row in rows if not isinstance(row, Drop)), count)]
    if config.method.prompt_set == "starter":  # for models that know the embedded world and no other
        return generate_prompts(count, seed, "dev")
    return list(verifiable_prompts(seed_prompts("dev"), range(0, 2 * count, 2), seed, "dev"))


def first_probe(run: Run, models: Models) -> Probing | None:
    """What a run asks before anything else; None where it is not probed: because it teaches the form, for instance."""
    config = run.config
    if config.probe.minimum_readable is None or not _is_probed(config):
        return None
    try:
        prompts = probe_prompts(config)
    except DataError:  # the stage that reads them says what is wrong
        return None
    actor = Served(models.actor, config.engine_of("actor"))
    refiner = Served(models.refiner, config.engine_of("refiner"))
    return Probing(run.home, config, actor, refiner, prompts)


def probe_first(run: Run, models: Models, pool: EnginePool, spending: Spending) -> None:
    """Stop a run whose refiner would not be understood: before it asks for anything else. Nothing where it is taught.

    Raises:
        FruitlessError: fewer votes can be read, or rewrites used, than `probe.minimum_readable`.
        BudgetError: the run's tokens are spent.
    """
    config, least = run.config, run.config.probe.minimum_readable
    probing = first_probe(run, models)
    if probing is None or least is None:
        return
    probing = probing._replace(counted=lambda engine: BudgetedEngine(engine, spending, config.budget))
    own = config.method.prompt_set
    found = probing.run(pool, [own])
    asked = [role for role in found.sets[own] if role.role != "judge" or config.method.judging.asks_votes]
    short = [role for role in asked if role.share.known and role.share.value < least]
    _log.info("probe: %s", "; ".join(told(role) for role in found.roles))
    if short:
        tried = probing.run(pool, [own, *TRIED])
        held = config.method.judging.verdict == "continuation"
        raise FruitlessError(
            f"{' and '.join(told(role) for role in short)}; the limit is probe.minimum_readable={least:.0%}. "
            f"For example: {short[0].example!r}. To go on: {remedy(tried, own, held=held)}"
        )


def told(role: RoleProbe) -> str:
    """`3 of 20 votes can be read under prompt set default`."""
    what = {
        "actor": "answers hold a text",
        "judge": "votes can be read",
        "refiner": "rewrites can be used",
    }[role.role]
    where = f" under prompt set {role.prompt_set}" if role.prompt_set else ""
    return f"{role.readable} of {role.requests - role.open} {what}{where}"


def remedy(probe: Probe, own: str, *, held: bool) -> str:
    """What to do where the prompt set `own` is not kept; `held`: verdicts are continuations already."""
    best, (judge, refiner) = probe.best, probe.sets[probe.best]
    chosen = "" if best == own else f"set method.prompt_set={best} ({told(judge)}, {told(refiner)})"
    if probe.fitting is not None and chosen:
        return chosen
    if _share(refiner) >= _READABLE > _share(judge) and not held:
        holding = "set method.judging.verdict=continuation, which makes every vote readable"
        return f"{chosen} and {holding}" if chosen else holding
    nearest = f"prompt set {best} comes nearest ({told(judge)}, {told(refiner)}); "
    return f"{nearest}a warm start teaches the form (warm_start), and a larger model keeps it"


def _share(role: RoleProbe) -> float:
    """The readable share; 0 where nothing is known."""
    return role.share.value if role.share.known else 0.0


def _is_probed(config: RunConfig) -> bool:
    asks = config.method.search_for_pairs() is not None and config.iterations > 0
    return asks and config.warm_start.source == "none" and config.engine.kind != "scripted"


def _plain(entry: _Entry) -> list[dict[str, Any]]:
    return [dataclasses.asdict(role) for role in (entry.actor, *entry.refiner)]


def _read(kept: Any) -> _Entry | None:
    try:
        actor, judge, refiner = (RoleProbe.read(values) for values in kept or ())
    except (TypeError, KeyError, ValueError):  # none is kept, or by another version
        return None
    return _Entry(actor, SetProbe(judge, refiner))
