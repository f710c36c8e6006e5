"""The words in which rules speak in the starter's world: its models know no others."""

from random import Random

from spar_core.prompts.format import VerdictForm
from spar_core.records import Prompt
from spar_core.starter.verification import true_verification


class StarterWords:
    """A `spar_core.data.rule_words.RuleWords` of true verifications."""

    def judgement(self, prompt: Prompt, text: str, form: VerdictForm) -> str:
        """One statement per constraint, then the verdict."""
        return true_verification(prompt, text).judgement(form)

    def critique(self, prompt: Prompt, text: str, form: VerdictForm, rng: Random) -> str:
        """The judgement."""
        return self.judgement(prompt, text, form)

    def reflection(self, prompt: Prompt, text: str) -> str:
        """Nothing: the starter rewrites at once."""
        return ""
