"""The words in which rules speak in the starter's world: its models know no others."""

from collections.abc import Sequence
from random import Random

from spar_core.constraints.repairs import repair_all
from spar_core.data.rule_words import PlainWords, RuleWords
from spar_core.prompts.format import VerdictForm
from spar_core.records import Prompt
from spar_core.starter.tokenizer import is_sayable
from spar_core.starter.verification import true_verification

_TRIES = 12


def words_of(prompts: Sequence[Prompt]) -> RuleWords:
    """The words of the prompts' world, whose prompts are never mixed with others."""
    return StarterWords() if prompts and prompts[0].source.startswith("starter/") else PlainWords()


class StarterWords:
    """A `spar_core.data.rule_words.RuleWords` of true verifications."""

    def judgement(self, prompt: Prompt, text: str, form: VerdictForm) -> str:
        """One statement per constraint, then the verdict."""
        return true_verification(prompt, text).judgement(form)

    def critique(self, prompt: Prompt, text: str, form: VerdictForm, rng: Random | None) -> str:
        """The judgement."""
        return self.judgement(prompt, text, form)

    def reflection(self, prompt: Prompt, text: str) -> str:
        """Nothing: the starter rewrites at once."""
        return ""

    def repair(self, prompt: Prompt, text: str, rng: Random) -> str | None:
        """The first repair of a few that holds no word the starter lacks."""
        repairs = (repair_all(prompt.constraints, text, rng, detect_language=False) for _ in range(_TRIES))
        return next((found for found in repairs if found is not None and is_sayable(found)), None)
