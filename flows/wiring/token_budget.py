"""What an iteration may write to make what the actor learns from: `method.pairs.tokens`, so that methods compare at
equal tokens."""

import logging
from collections.abc import Mapping
from typing import Any, Final

from flows.wiring.request import Run
from spar_core.config.run_identity import naming
from spar_core.errors import ConfigError
from spar_core.secrets import redacted
from storage.artifacts import ArtifactStore
from storage.ledger import Ledger

_log = logging.getLogger(__name__)
_MATCHED: Final = "spar"
_WRITING: Final = ("responses", "judgements", "trees")
"""Stages in which models write what the actor of `spar` learns from."""
_MOST_SAMPLES: Final = 64  # per request


class TokenBudget:
    """The tokens of one run's iterations."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._tokens = run.config.method.pairs.tokens

    def check(self) -> None:
        """See that every iteration has its number, where another run gives it.

        Raises:
            ConfigError: that run is not in the home, or is not that far.
        """
        if self._tokens == _MATCHED:
            for iteration in range(1, self._run.config.iterations + 1):
                self.of(iteration)

    def of(self, iteration: int) -> int | None:
        """Completion tokens of an iteration; null: no number is set.

        Raises:
            ConfigError: they are those of a run that is not in the home, or is not that far.
        """
        if self._tokens is None or isinstance(self._tokens, int):
            return self._tokens
        written = self._written(iteration)
        if written is None:
            raise ConfigError(
                f"method.pairs.tokens is `{_MATCHED}`, but {self._run.home.root} has no run with the settings of this "
                f"one and method.pairs.method={_MATCHED} whose iteration {iteration} has made its trees: run it first "
                "(in an experiment, name its variant before this one), or give the number of tokens"
            )
        return written

    def further_samples(self, iteration: int, spent: float, drawn: int) -> int:
        """Samples per prompt that the rest of an iteration's tokens pays for, to the nearest whole one.

        Args:
            iteration: of the run.
            spent: tokens of the samples and judgements that are there.
            drawn: samples per prompt that are there.

        Raises:
            ConfigError: more than a request can ask for.
        """
        tokens = self.of(iteration)
        if tokens is None or not spent:
            return 0
        more = max(0, round((tokens - spent) * drawn / spent))
        if more > _MOST_SAMPLES:
            raise ConfigError(
                f"method.pairs.tokens={tokens:,} pays for {more} further samples per prompt in iteration {iteration}, "
                f"and {_MOST_SAMPLES} is the most: lower it, or raise prompts.per_iteration"
            )
        _log.info("iteration %d: %d further samples per prompt for %d tokens", iteration, more, tokens)
        return more

    def _written(self, iteration: int) -> int | None:
        """What the matched run wrote in an iteration."""
        ledger, store = Ledger(self._run.home), ArtifactStore(self._run.home)
        wanted = self._matched()
        for known in ledger.runs():
            if _settings(known.config) != wanted:
                continue
            stages = [
                stage
                for stage in ledger.stages(known.run_id)
                if stage.iteration == iteration and stage.stage in _WRITING and stage.state == "completed"
            ]
            artifacts = [store.get(stage.stage, stage.stage_key) for stage in stages]
            if {stage.stage for stage in stages} == set(_WRITING) and None not in artifacts:
                metrics = (artifact.manifest().metrics for artifact in artifacts if artifact is not None)
                return int(sum(one.get("completion_tokens", 0.0) for one in metrics))
        return None

    def _matched(self) -> dict[str, Any]:
        """What names the run that this one is matched with."""
        config = self._run.config
        pairs = config.method.pairs.model_copy(update={"method": _MATCHED, "tokens": None})
        other = config.model_copy(update={"method": config.method.model_copy(update={"pairs": pairs})})
        return _settings(redacted(other.model_dump(mode="json")))


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """What tells runs apart but for the name of the preset: the same settings may come from another one or a file."""
    return {name: value for name, value in naming(config).items() if name != "preset"}
