"""The refiner: judges responses by votes and rewrites failing ones."""

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from spar_core.config.method import JudgingConfig, RefinementConfig
from spar_core.engines.base import Completion, Engine
from spar_core.hashing import derive_seed
from spar_core.prompts.library import PromptLibrary
from spar_core.records import FinishReason, Judgement, Verdict, Vote
from spar_core.roles import voting
from spar_core.roles.anchor import Checked, Verifier
from spar_core.roles.asking import Asked, ask, ask_together
from spar_core.roles.ballot import EVERY_VOTE, Ballot, Part, VoteRequest, Wanted
from spar_core.roles.by_constraint import together
from spar_core.roles.closing import Closed, closed
from spar_core.roles.in_flight import all_results
from spar_core.roles.requests import (
    JUDGE,
    REFINE,
    TASK,
    constraint_messages,
    judge_messages,
    judge_wordings,
    refine_messages,
)
from spar_core.roles.rewrite import parse_rewrite, placeholders_of
from spar_core.roles.verdict import parse_verdict
from spar_core.roles.watch import Watch


class JudgementOutcome(NamedTuple):
    """The votes of every round, and the judgement or the reason why there is none.

    `failure`: `quorum`, `tie`, `no_rule` (`rules_only`), or the engine's reason for refusing; None where there is
    a judgement.
    """

    votes: tuple[Vote, ...]
    judgement: Judgement | None
    failure: str | None = None
    detail: str = ""


class Rewrite(NamedTuple):
    """One rewrite. `failure`: truncated (text kept), no_answer, empty_answer, or the engine's reason; None = usable.

    `refused` tells an engine's refusal from a text without a usable answer. `seed` is the request's; the rewrite
    is its completion number `sample_index`, `text` the whole of it. `prompt_tokens` of the request stand on its first.
    """

    response: str
    reflection: str
    finish_reason: FinishReason
    seed: int
    sample_index: int
    failure: str | None = None
    refused: bool = False
    text: str = ""
    thought: str = ""
    completion_tokens: int = 0
    prompt_tokens: int = 0


class Refiner:
    """Judge and rewriter over one engine; stateless, safe for any number of concurrent calls.

    With a `verifier` (`judging.anchor`) what it can decide is decided by it, the rest by votes if any are asked.
    """

    def __init__(
        self,
        engine: Engine,
        library: PromptLibrary,
        judging: JudgingConfig,
        refinement: RefinementConfig,
        verifier: Verifier | None = None,
        second_voter: Engine | None = None,
        watch: Watch | None = None,
        constraints: Callable[[str], tuple[str, ...]] | None = None,
    ) -> None:
        """`watch` ends the work when too little of what the model writes can be used.

        `constraints`: those of a prompt, in words, for prompt sets that ask about each; of prompts without any, and
        where it is not given, the whole is asked about.

        Raises:
            ConfigError: the prompt set has fewer wordings of its judge prompt than `judging` asks for.
        """
        self._constraints = constraints if library.format.judge == "per_constraint" else None
        self._verifier = verifier
        self._watch = watch or Watch({})
        self._wordings = judge_wordings(library, judging.wordings)
        self._engine = engine
        self._voters = (engine,) if second_voter is None else (engine, second_voter)
        self._library = library
        self._judging = judging
        self._judge_sampling = judging.sampling()
        self._refine_sampling = refinement.sampling()
        self._format = library.format
        self._placeholders = placeholders_of(library.text(REFINE), library.format.markers)

    @property
    def model_digest(self) -> str:
        """Content digest of the weights that judge and rewrite."""
        return self._engine.model_digest

    async def judge(
        self,
        subject_id: str,
        prompt_text: str,
        response_text: str,
        seed: int,
        *,
        seed_id: str | None = None,
        max_reasks: int | None = None,
        finish_reason: FinishReason = "stop",
        wanted: Wanted = EVERY_VOTE,
    ) -> JudgementOutcome:
        """Ask rounds of votes until they decide or `max_reasks` is spent; `reasked` says whether all count together.

        The wordings and voters of a round are asked at once. What a verifier decides is asked all the same, so that
        votes stay comparable with the truth, and asked again only while no vote agrees with it (a critique is needed).

        Where not every vote is wanted, the first round is asked in two steps, and the second only where it matters. A
        vote is the same whether or not others are asked with it: verdict and critique are those of the whole round.

        Args:
            subject_id: id of the response or tree node; becomes the votes' `response_id`.
            prompt_text: the instruction.
            response_text: the answer to check.
            seed: the run's seed; each round's is derived from it, the subject and the round's number.
            seed_id: stands for the subject in that; null: `subject_id`.
            finish_reason: how the answer ended; where no votes are asked at all, a cut one is NO.
            max_reasks: extra rounds, for ties too; null: as the configuration says (`search.max_reasks`).
            wanted: which votes of the first round.

        Raises:
            EngineUnavailableError: no answer after all retries.
            FruitlessError: too few of the votes so far can be read.
        """
        checked = self._verifier(prompt_text, response_text) if self._verifier else None
        if (settled := self._settled(subject_id, checked, finish_reason)) is not None:
            return settled
        requests = self._vote_requests(prompt_text, response_text, self._asked_about(prompt_text, checked))
        if self._judging.anchor == "rules_then_votes":
            checked = None  # no rule is broken: whether the task is done is for the votes
        ruled = checked.verdict if checked else None
        ballot = Ballot(subject_id, requests, list(wanted.begun))
        reason: voting.NoMajority | None = None
        reasks = self._judging.max_reasks if max_reasks is None else max_reasks
        for attempt in range(reasks + 1):
            own_seed = partial(derive_seed, seed, record_id=seed_id or subject_id, attempt=attempt)
            size = 1 if reason == "tie" and self._judging.tie == "one_more" else self._judging.votes
            start = len(ballot.votes) if attempt else 0
            steps = (self._fewest, size) if wanted.spare and attempt == 0 and ruled is None else (size,)
            if (ended := await self._round(ballot, own_seed, start, steps, wanted.spare)) is not None:
                return ended
            if ruled is not None:
                if any(vote.verdict is ruled for vote in ballot.votes):
                    break
                continue
            counted = ballot.votes if self._judging.reasked == "together" else ballot.votes[start:]
            reason = voting.undecided(voting.tally(counted, self._judging), self._judging)
            if reason is None:
                return JudgementOutcome(tuple(ballot.votes), voting.judgement(subject_id, counted, self._judging))
            if max_reasks is None and not voting.worth_asking_again(reason, self._judging):
                break
        if checked is not None and ruled is not None:
            anchored = voting.anchored(subject_id, ballot.votes, checked, ruled, self._format.verdict)
            return JudgementOutcome(tuple(ballot.votes), anchored)
        counts = voting.tally(ballot.votes)
        detail = f"{counts.yes} yes, {counts.no} no, {counts.unparseable} unparseable"
        return JudgementOutcome(tuple(ballot.votes), None, reason, detail)

    async def _round(
        self,
        ballot: Ballot,
        own_seed: Callable[[str], int],
        start: int,
        steps: Sequence[int],
        spare: frozenset[Verdict],
    ) -> JudgementOutcome | None:
        """Ask the votes of a round, which began at vote `start`, up to each step's number in turn.

        The outcome where the engine refuses one, or where what is left can be spared; else None.
        """
        for step in steps:
            refused = await self._ask_votes(ballot, own_seed, len(ballot.votes) - start, step)
            if refused is not None:
                return JudgementOutcome(tuple(ballot.votes), None, *refused)
            left = steps[-1] - step
            if left and self._certain(ballot, left) in spare:
                judged = voting.judgement(ballot.subject_id, ballot.votes, self._judging)
                return JudgementOutcome(tuple(ballot.votes), replace(judged, votes_spared=left))
        return None

    @property
    def _fewest(self) -> int:
        """Votes of a round without which no majority can be certain."""
        return max(self._judging.votes // 2 + 1, self._judging.quorum)

    def _certain(self, ballot: Ballot, left: int) -> Verdict | None:
        return voting.certain(voting.tally(ballot.votes, self._judging), left, self._judging)

    async def _ask_votes(
        self, ballot: Ballot, own_seed: Callable[[str], int], first: int, last: int
    ) -> tuple[str, str] | None:
        """Ask the votes number `first` to `last - 1` of a round; reason and detail where one is refused."""
        parts = ballot.parts(first, last)
        asked_of = [(part, own_seed(part.request.purpose)) for part in parts]
        asks = [self._ask_voter(part, seed) for part, seed in asked_of]
        start, of_constraints = len(ballot.votes), list[tuple[str, list[Vote]]]()
        for (part, seed), asked in zip(asked_of, await ask_together(asks), strict=False):
            if asked.failure:
                return asked.failure, asked.detail
            votes, refusal = await self._votes(ballot, part, seed, asked)
            if part.request.constraint:
                of_constraints.append((part.request.constraint, votes))
            else:
                ballot.votes.extend(votes)
            if refusal is not None:
                return refusal.failure or "", refusal.detail
        ballot.votes.extend(together(of_constraints, self._format.verdict, len(ballot.votes)))
        self._watch.voted(ballot.votes[start:])
        return None

    async def _votes(self, ballot: Ballot, part: Part, seed: int, asked: Asked) -> tuple[list[Vote], Closed | None]:
        """The votes of one request, up to the first whose verdict was refused, and that one."""
        votes: list[Vote] = []
        verdicts = await self._verdicts(part, seed, asked.completions)
        for said, found in zip(asked.completions, verdicts, strict=True):
            if found.failure:
                return votes, found
            index, read = len(ballot.votes) + len(votes), 0 if votes else asked.prompt_tokens
            who = (part.request.wording, part.request.voter, said.thought, found.yes_probability)
            tokens = (said.completion_tokens + found.completion_tokens, read + found.prompt_tokens)
            vote = (ballot.subject_id, index, found.verdict, found.critique, said.finish_reason, seed)
            votes.append(Vote(*vote, *who, *tokens))
        return votes, None

    def _settled(
        self, subject_id: str, checked: Checked | None, finish_reason: FinishReason
    ) -> JudgementOutcome | None:
        """What rules decide without a vote; None where votes are to be asked."""
        rules = self._judging.anchor
        if rules not in ("rules_then_votes", "rules_only"):
            return None
        if rules == "rules_only" and finish_reason == "length":
            failed = checked.failed if checked else ()
            checked = Checked((*failed, "The answer must be complete (it was cut)."), complete=False)
        if checked is not None and (checked.failed or (rules == "rules_only" and checked.complete)):
            return JudgementOutcome((), voting.by_rule(subject_id, checked, self._format.verdict))
        if rules == "rules_only":
            return JudgementOutcome((), None, "no_rule", "a constraint that no checker decides, and no votes are asked")
        return None

    def _ask_voter(self, part: Part, seed: int) -> Coroutine[Any, Any, Asked]:
        request = part.request
        asked = (request.messages, self._judge_sampling, seed, part.wanted)
        return ask(self._voters[request.voter - 1], *asked, first=part.first, prefix=request.about)

    async def _verdicts(self, part: Part, seed: int, said: Sequence[Completion]) -> list[Closed]:
        """The verdicts of one request's votes: read, or asked for as the end of each (`judging.verdict`)."""
        form = self._format.verdict
        if self._judging.verdict == "text":
            return [Closed(parse_verdict(vote.text, vote.finish_reason, form), vote.text) for vote in said]
        voter, soft = self._voters[part.request.voter - 1], self._judging.soft_votes
        seeds = [derive_seed(seed, "verdict", str(place)) for place in range(part.first, part.first + len(said))]
        asks = [
            closed(
                voter,
                part.request.messages,
                vote,
                self._judge_sampling,
                own,
                form,
                soft=soft,
                prefix=part.request.about,
            )
            for vote, own in zip(said, seeds, strict=True)
        ]
        return await all_results(asks)

    def _asked_about(self, prompt_text: str, checked: Checked | None) -> tuple[str, ...]:
        """The task and the constraints that each are asked about on their own; none where the whole is.

        Those that a checker has decided are not, where it does so ahead of the votes.
        """
        constraints = self._constraints(prompt_text) if self._constraints else ()
        if not constraints:
            return ()
        if checked is not None and self._judging.anchor == "rules_then_votes":
            constraints = checked.undecided
        return (TASK, *dict.fromkeys(constraints))

    def _vote_requests(self, prompt_text: str, response_text: str, asked_about: Sequence[str]) -> list[VoteRequest]:
        """One request per voter and wording, or per voter and what each vote is `asked_about`.

        The votes are spread evenly, the first get what is left over.
        """
        requests = []
        for voter, votes in enumerate(_shares(self._judging.votes, len(self._voters)), start=1):
            for constraint in asked_about if votes else ():
                messages = constraint_messages(self._library, prompt_text, response_text, constraint)
                purpose = _purpose(voter, f"{JUDGE}: {constraint}")
                requests.append(VoteRequest(voter, 1, purpose, messages, votes, prompt_text, constraint))
            if asked_about:
                continue
            for place, wanted in enumerate(_shares(votes, len(self._wordings))):
                wording = self._wordings[place]
                messages = judge_messages(self._library, prompt_text, response_text, wording)
                if wanted:
                    requests.append(
                        VoteRequest(voter, place + 1, _purpose(voter, wording), messages, wanted, prompt_text)
                    )
        return requests

    async def refine(self, prompt_text: str, response_text: str, critique: str, seed: int, count: int) -> list[Rewrite]:
        """Ask for `count` rewrites in one request with exactly this seed; always `count` outcomes, in order.

        Raises:
            EngineUnavailableError: no answer after all retries.
            FruitlessError: too few of the rewrites so far can be used.
        """
        messages = refine_messages(self._library, prompt_text, response_text, critique)
        asked = await ask(self._engine, messages, self._refine_sampling, seed, count, prefix=prompt_text)
        if asked.failure:
            return [Rewrite("", "", "stop", seed, index, asked.failure, refused=True) for index in range(count)]
        rewrites = []
        for index, completion in enumerate(asked.completions):
            echoes = self._placeholders | (set() if self._format.markers else {messages[-1].content})
            parsed = parse_rewrite(completion.text, completion.finish_reason, echoes, self._format.markers)
            ended, failure, said = completion.finish_reason, parsed.failure, (completion.text, completion.thought)
            tokens = (completion.completion_tokens, 0 if index else asked.prompt_tokens)
            read = (parsed.response, parsed.reflection, ended, seed, index, failure, False)
            rewrites.append(Rewrite(*read, *said, *tokens))
        texts = (completion.text for completion in asked.completions)
        self._watch.rewritten(zip((rewrite.failure for rewrite in rewrites), texts, strict=True))
        return rewrites


def _shares(total: int, parts: int) -> list[int]:
    """`total` as `parts` nearly equal numbers, the larger ones first."""
    share, left_over = divmod(total, parts)
    return [share + (place < left_over) for place in range(parts)]


def _purpose(voter: int, asked: str) -> str:
    return asked if voter == 1 else f"second_voter.{asked}"
