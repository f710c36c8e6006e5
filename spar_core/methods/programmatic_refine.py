"""A failing sample and the same mended by code: an upper bound that uses rule truth."""

from spar_core.config.pairs import PairsConfig
from spar_core.data.pairs import Pairs
from spar_core.data.ruled import repaired_pairs
from spar_core.methods.plugin import PairsMethod, Rows
from spar_core.starter.rule_words import words_of


class ProgrammaticRefine(PairsMethod):
    """A checker chooses what fails, code writes what is preferred; the refiner is frozen."""

    name = "programmatic_refine"
    summary = "a failing sample mended by code, an upper bound that uses rule truth"
    reads = ("responses",)
    refiner_learns_by = None
    rules_note = (
        "a checker chooses the pairs and code writes what is preferred. It is an upper bound to compare with, not the "
        "method"
    )

    def pairs(self, rows: Rows, config: PairsConfig, *, run_seed: int) -> Pairs:
        """Repaired over failing."""
        prompts = list(rows.prompts)
        return repaired_pairs(prompts, rows.responses, words_of(prompts), config, run_seed=run_seed)


METHOD = ProgrammaticRefine()
