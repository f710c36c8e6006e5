"""Which kinds of constraints training prompts may have, and which are held out to measure on."""

from collections.abc import Mapping
from typing import Final

from spar_core.constraints.registry import samplable
from spar_core.constraints.vocabulary import Split

# An easy, a middling and a hard one each, measured on a 135M model; all have relatives among the training kinds.
HELDOUT_KINDS: Final[Mapping[Split, tuple[str, ...]]] = {
    "dev": ("detectable_content:postscript", "detectable_content:number_placeholders", "change_case:english_lowercase"),
    "test": ("change_case:capital_word_frequency", "detectable_format:title", "startend:quotation"),
}
# A yes/no/maybe answer suits few instructions: no split asks for it.
_UNUSED = ("detectable_format:constrained_response",)
TRAIN_KINDS: Final = tuple(
    kind.id for kind in samplable() if kind.id not in {*_UNUSED, *HELDOUT_KINDS["dev"], *HELDOUT_KINDS["test"]}
)
