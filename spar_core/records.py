"""The records that cross module boundaries: frozen, typed, content-hashed.

A record's fields are the columns of the table of the same name (`storage.schemas` derives the Arrow
schema from the type hints). Ids are content hashes (32 hex digits).
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Literal, Self

from spar_core.hashing import canonical_json, content_id

FinishReason = Literal["stop", "length"]
Role = Literal["system", "user", "assistant"]
ModelRole = Literal["actor", "refiner"]
Anchored = Literal["no", "verdict", "verdict_and_critique", "rule"]
"""What of a judgement a checker decided instead of the votes (`judging.anchor`); rule: all of it, no vote was asked."""


class Verdict(StrEnum):
    """What one vote says of a response."""

    YES = "YES"
    NO = "NO"
    UNPARSEABLE = "UNPARSEABLE"


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat."""

    role: Role
    content: str


SOFT: Final = "soft"
"""Kind of a constraint that no code checks: its one argument, `text`, says it in words."""


@dataclass(frozen=True, slots=True)
class Constraint:
    """A checkable instruction: registry kind and its arguments as canonical JSON; or a `SOFT` one."""

    kind: str
    kwargs: str = "{}"

    @classmethod
    def create(cls, kind: str, **arguments: Any) -> Self:
        """Build from keyword arguments (JSON-like values)."""
        return cls(kind, canonical_json(arguments))


@dataclass(frozen=True, slots=True)
class Prompt:
    """An instruction for the actor; `constraints` is empty where truth is not checkable.

    `seed_prompt`: the instruction it was made from, by adding constraints; empty where it was given or drawn whole.
    """

    prompt_id: str
    text: str
    constraints: tuple[Constraint, ...] = ()
    split: str = "train"
    source: str = "user"
    seed_prompt: str = ""

    @classmethod
    def create(
        cls,
        text: str,
        constraints: tuple[Constraint, ...] = (),
        split: str = "train",
        source: str = "user",
        seed_prompt: str = "",
    ) -> Self:
        """Build with the id derived from the text: equal texts are one prompt."""
        return cls(content_id("prompt", text), text, constraints, split, source, seed_prompt)


@dataclass(frozen=True, slots=True)
class Response:
    """One sampled answer of the actor (or one given by the user: `model_digest` is then "given").

    A reasoning model's `thought` is kept beside the answer, here and in the other records, and never used.
    """

    response_id: str
    prompt_id: str
    sample_index: int
    text: str
    finish_reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    model_digest: str
    seed: int
    thought: str = ""

    @property
    def lost(self) -> str | None:
        """Why there is no answer to judge or to train on; None where there is one.

        `cut_thought`: the token limit came before the answer began; `no_answer`: the model ended with its thought.
        """
        if self.text.strip():
            return None
        if self.finish_reason == "length":
            return "cut_thought"
        return "no_answer" if self.thought else None


@dataclass(frozen=True, slots=True)
class ConstraintVote:
    """What one vote says of one constraint (`judge: per_constraint` of a prompt set); other fields as in `Vote`."""

    constraint: str
    verdict: Verdict
    critique: str
    finish_reason: FinishReason
    seed: int
    thought: str = ""
    yes_probability: float | None = None


@dataclass(frozen=True, slots=True)
class Vote:
    """One verification text and its verdict. `response_id` is a response's or a tree node's id.

    Asked per constraint it is YES where all are met, NO where one is not; then `by_constraint` holds what was said of
    each, and `critique`, made of that, what speaks for the verdict.

    `wording` counts the wordings of the judge prompt (`judging.wordings`) from 1; `voter` is 2 for the votes of
    `judging.second_voter`. `yes_probability`: of YES against NO as the model's next word (`judging.verdict:
    continuation`); null where the verdict was read out of the text, or the server does not tell. `completion_tokens`:
    of this vote, thought and verdict included. `prompt_tokens`: of the request that asked for it, on the first of its
    votes; 0 on the others, which share it. Both null where an earlier version asked.
    """

    response_id: str
    vote_index: int
    verdict: Verdict
    critique: str
    finish_reason: FinishReason
    seed: int
    wording: int = 1
    voter: int = 1
    thought: str = ""
    yes_probability: float | None = None
    completion_tokens: int | None = None
    prompt_tokens: int | None = None
    by_constraint: tuple[ConstraintVote, ...] = ()

    @property
    def seeds(self) -> frozenset[int]:
        """Of the requests it was asked with."""
        return frozenset(part.seed for part in self.by_constraint) or frozenset({self.seed})


@dataclass(frozen=True, slots=True)
class Judgement:
    """The majority of the votes on one response. `critique` is that of the first agreeing vote.

    Where `anchored` is not "no" a checker decided: `value` is 1 or 0, the votes only stay recorded. `votes_of`: the
    response with the same text whose votes these are (`judging.equal_texts`); empty where it has its own.
    `votes_spared`: as for tree nodes. `by_constraint`: of the vote that the critique is of.
    """

    response_id: str
    verdict: Verdict
    yes_votes: int
    no_votes: int
    unparseable_votes: int
    value: float
    critique: str
    anchored: Anchored = "no"
    votes_of: str = ""
    votes_spared: int = 0
    by_constraint: tuple[ConstraintVote, ...] = ()


@dataclass(frozen=True, slots=True)
class RubricVote:
    """One text that scores a response by the rubric. `score` is a fraction of the maximum, null where unparseable."""

    response_id: str
    vote_index: int
    score: float | None
    text: str
    finish_reason: FinishReason
    seed: int
    thought: str = ""


@dataclass(frozen=True, slots=True)
class RubricScore:
    """Mean and variance of a response's parseable rubric votes, as fractions of the maximum score."""

    response_id: str
    score: float
    variance: float
    votes: int
    unparseable_votes: int


@dataclass(frozen=True, slots=True)
class MetaVote:
    """One comparison of two rubric votes on a response, shown as A and B in this order; `better` is what was said."""

    response_id: str
    first_index: int
    second_index: int
    better: Literal["A", "B", "UNPARSEABLE"]
    text: str
    finish_reason: FinishReason
    seed: int
    thought: str = ""


@dataclass(frozen=True, slots=True)
class Root:
    """A response to improve, with the judgement of it. `value` is None where it was not judged.

    `seed` is that of the response's request (0 for a response given by the user).
    """

    prompt_id: str
    prompt: str
    response_id: str
    response: str
    critique: str
    value: float | None
    yes_votes: int = 0
    no_votes: int = 0
    unparseable_votes: int = 0
    finish_reason: FinishReason = "stop"
    seed: int = 0
    anchored: Anchored = "no"
    votes_spared: int = 0

    @classmethod
    def create(cls, prompt: Prompt, response: Response, judgement: Judgement) -> Self:
        """Build from the records of the earlier stages."""
        return cls(
            prompt_id=prompt.prompt_id,
            prompt=prompt.text,
            response_id=response.response_id,
            response=response.text,
            critique=judgement.critique,
            value=judgement.value,
            yes_votes=judgement.yes_votes,
            no_votes=judgement.no_votes,
            unparseable_votes=judgement.unparseable_votes,
            finish_reason=response.finish_reason,
            seed=response.seed,
            anchored=judgement.anchored,
            votes_spared=judgement.votes_spared,
        )


@dataclass(frozen=True, slots=True)
class TreeNode:
    """One response inside a tree: the root, or a rewrite of its parent.

    `value` is null where votes gave no majority or the node was not judged (duplicate, failed
    expansion). `visit_order` counts expansions in the order the search asked for them, root = 0. `rewrite` is the
    refiner's whole text, which response and reflection were read from; empty at the root. A node with a value and a
    `duplicate_of` has taken over that node's judgement (`search.cache_values`): the votes are that node's.
    `votes_spared`: votes that were not asked because the search would have done the same whatever they said
    (`search.votes_asked`); the value is then the share among those asked. Tokens are those of the rewrite, as for
    votes: `prompt_tokens` stands on the first rewrite of its request. Null at the root, where the engine refused, and
    where an earlier version searched.
    """

    tree_id: str
    node_id: str
    parent_id: str | None
    depth: int
    visit_order: int
    response: str
    reflection: str
    critique: str
    value: float | None
    yes_votes: int
    no_votes: int
    unparseable_votes: int
    duplicate_of: str | None
    accepted: bool
    finish_reason: FinishReason
    seed: int
    failure: str | None = None
    anchored: Anchored = "no"
    rewrite: str = ""
    thought: str = ""
    votes_spared: int = 0
    completion_tokens: int | None = None
    prompt_tokens: int | None = None
    by_constraint: tuple[ConstraintVote, ...] = ()


@dataclass(frozen=True, slots=True)
class Tree:
    """One finished search."""

    tree_id: str
    prompt_id: str
    root_response_id: str
    strategy: str
    stop_reason: str
    nodes_expanded: int
    accepted_node_id: str | None
    engine_seconds: float


@dataclass(frozen=True, slots=True)
class PreferencePair:
    """Chosen answer preferred over the rejected one; `tree_id` is null for pairs not made by search.

    `chosen_id`, `rejected_id`: the responses or tree nodes the texts are of (`RESPONSE/VOTE` where they are judgements
    of a response); empty where an earlier version made the pair. `chosen_cut`, `rejected_cut`: the text ended at the
    token limit, so that its model wrote no end.
    """

    pair_id: str
    prompt_id: str
    tree_id: str | None
    prompt: str
    chosen: str
    rejected: str
    value: float
    chosen_id: str = ""
    rejected_id: str = ""
    chosen_cut: bool = False
    rejected_cut: bool = False


@dataclass(frozen=True, slots=True)
class GivenPair:
    """A preference pair of given data: `prompt` is a whole chat that ends with the user's turn, `source` its file.

    `chosen_cut`, `rejected_cut`: as of a `PreferencePair`.
    """

    pair_id: str
    source: str
    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    chosen_cut: bool = False
    rejected_cut: bool = False


@dataclass(frozen=True, slots=True)
class RefinerExample:
    """Supervised example; the last message is the assistant's. `training.*.loss_turns` says which turns are learned.

    `text_id`: the response or tree node that is judged, answered with, or that the rewrite is; `tree_id` its tree.
    Where rules teach it is the answer that they judged or mended. Empty where the example is of given data, of the
    starter's teacher, or an earlier version made it.
    """

    example_id: str
    kind: Literal["judgement", "refinement", "answer", "replay"]
    source: str
    messages: tuple[Message, ...]
    prompt_id: str = ""
    text_id: str = ""
    tree_id: str | None = None


@dataclass(frozen=True, slots=True)
class Drop:
    """A row that entered a stage and did not leave it."""

    stage: str
    record_id: str
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class EvalItem:
    """One scored item of a benchmark. `value` is null where it could not be scored (`detail` says why).

    `settings`: how it was answered, where that is not the standard (`spar_core.evaluation.settings`). `sample`: which
    of several answers. `response_id`: the answer or text that is measured, where there is one.
    """

    benchmark: str
    role: ModelRole
    model_digest: str
    item_id: str
    cluster_id: str
    metric: str
    value: float | None
    detail: str = ""
    settings: str = ""
    sample: int = 0
    response_id: str = ""


@dataclass(frozen=True, slots=True)
class EvalScore:
    """A metric of one model on one benchmark with its 95 % interval; `value` is a fraction unless named otherwise.

    `settings` as for `EvalItem`: scores under other settings are other measurements.
    """

    benchmark: str
    role: ModelRole
    model_digest: str
    metric: str
    value: float
    ci_low: float
    ci_high: float
    n: int
    settings: str = ""


@dataclass(frozen=True, slots=True)
class StageRows:
    """Rows a stage took in and gave out, for the ledger rule rows_in = rows_out + drops."""

    rows_in: int
    rows_out: int
    drops: tuple[Drop, ...] = field(default=())
