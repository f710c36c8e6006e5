"""What the work of stages follows from: the configuration, what is assumed, and the rows that are there."""

from collections.abc import Mapping
from statistics import fmean
from typing import Final, NamedTuple

from spar_core.config.run import RunConfig
from spar_core.planning.assumptions import Assumptions
from spar_core.prompts import PromptLibrary

Rows = Mapping[str, int]
_VERDICT_TOKENS: Final = 2  # of a verdict that is asked for as the end of a vote


class Facts(NamedTuple):
    """What a stage's work follows from. `given`: rows of its inputs, by table."""

    config: RunConfig
    assumed: Assumptions
    given: Rows

    @property
    def answer(self) -> float:
        """Tokens of an answer."""
        return within(self.assumed.answer_tokens, self.config.method.responses.max_tokens)

    @property
    def critique(self) -> float:
        """Tokens of a vote."""
        return within(self.assumed.critique_tokens, self.config.method.judging.max_tokens)

    @property
    def rewrite(self) -> float:
        """Tokens of a rewrite."""
        asked = self.assumed.reflection_tokens + self.assumed.answer_tokens
        return within(asked, self.config.method.refinement.max_tokens)

    @property
    def votes_asked(self) -> int:
        """Votes on a text of self-play: none where rules alone judge. Where rules come first this is the most."""
        judging = self.config.method.judging
        return judging.votes if judging.asks_votes else 0

    @property
    def questions(self) -> float:
        """What a vote on a text of self-play is asked: about the whole, or about the task and each constraint."""
        method, prompts = self.config.method, self.config.prompts
        by_rules = method.judging.anchor == "rules_then_votes" and prompts.source in ("starter", "verifiable")
        if prompts.source == "taxonomy":  # lists none
            return 1.0
        return self._questions(
            0.0 if by_rules else fmean(prompts.constraints or (self.assumed.constraints_per_prompt,))
        )

    @property
    def measuring_questions(self) -> float:
        """The same of a held-out prompt, whose rules are never checked ahead of the votes."""
        return self._questions(fmean(self.config.evaluation.constraints or (self.assumed.constraints_per_prompt,)))

    def _questions(self, constraints: float) -> float:
        form = PromptLibrary.load(self.config.method.prompt_set).format
        return 1.0 + constraints if form.judge == "per_constraint" else 1.0

    @property
    def to_judge(self) -> float:
        """Tokens of a request for votes."""
        return self.assumed.template_tokens + self.assumed.instruction_tokens + self.answer


class Judging(NamedTuple):
    """What judging one text takes."""

    requests: float
    read: float
    written: float


def judging_work(facts: Facts, votes: int, questions: float) -> Judging:
    """With so many votes, each asked so many questions; a verdict asked for on its own is a request per vote more."""
    if not votes:
        return Judging(0.0, 0.0, 0.0)
    asked, said = questions * facts.to_judge, questions * votes
    found = Judging(questions, asked, said * facts.critique)
    if facts.config.method.judging.verdict == "text":
        return found
    read = asked * votes + said * facts.critique
    return Judging(found.requests + said, found.read + read, found.written + said * _VERDICT_TOKENS)


def within(tokens: float, limit: int) -> float:
    """The mean length of texts that would have so many tokens, of which a limit cuts some."""
    return min(tokens, limit / 2)  # a mean near the limit would mean that half of all texts are cut
