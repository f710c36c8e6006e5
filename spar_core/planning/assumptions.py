"""What a plan takes for granted where nothing was measured: named, shown with the plan, settable."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Self

from spar_core.errors import ConfigError


class Assumptions(NamedTuple):
    """Lengths in tokens, shares as fractions, times in seconds. What a model writes never counts beyond its limit."""

    instruction_tokens: float = 200
    """Of a prompt."""
    answer_tokens: float = 450
    """Of an answer, and of a rewrite's answer."""
    critique_tokens: float = 350
    """Of a vote."""
    reflection_tokens: float = 150
    """Of a rewrite before its answer."""
    template_tokens: float = 250
    """Of the wording around what is judged or refined."""
    constraints_per_prompt: float = 3
    """That a prompt lists, where the configuration does not say."""
    kept_prompts: float = 0.95
    """Share of prompts that are no duplicates."""
    decided: float = 0.95
    """Share of answers with a judgement."""
    failing_prompts: float = 0.7
    """Share of prompts with an answer that is judged wrong."""
    nodes_per_tree: float = 6
    """Rewrites asked in one search, where its budget allows them."""
    pairs_per_tree: float = 0.8
    """Searches that end with an accepted rewrite."""
    reused_prompt: float = 0.5
    """Share of the tokens read that the server's prefix cache holds already."""
    train_mfu: float = 0.35
    """Share of the processor's peak that training gets."""
    cpu_train_share: float = 0.6
    """The same of a CPU, of what it reaches with large products."""
    adapter_mfu: float = 0.22
    """The same where adapters are trained, whose small products keep it waiting."""
    read_mfu: float = 0.5
    """Share of it that reading prompts gets."""
    write_bandwidth: float = 0.5
    """Share of the memory's bandwidth that writing answers gets."""
    engine_start_s: float = 90
    """To load a model into a server."""
    in_process_start_s: float = 3
    """To load one into this process."""
    training_start_s: float = 60
    """To start a training, load its model and write the new one."""
    cpu_training_start_s: float = 8
    """The same on a CPU, where models are small."""

    @classmethod
    def with_values(cls, given: Iterable[str], usual: Mapping[str, float] | None = None) -> Self:
        """These, with `name=number` in place of some; `usual`: what is known of the models.

        Raises:
            ConfigError: a name is unknown or a value no positive number.
        """
        values: dict[str, float] = {}
        for entry in given:
            name, _, text = entry.partition("=")
            if name not in cls._fields:
                raise ConfigError(f"--assume {entry}: unknown {name!r}; known: {', '.join(cls._fields)}")
            try:
                values[name] = float(text)
            except ValueError:
                values[name] = -1.0
            if not 0 <= values[name] < float("inf"):
                raise ConfigError(f"--assume {entry}: give a number that is not negative, such as {name}=100")
        return cls()._replace(**{**(usual or {}), **values})
