"""The choices of the method: sampling, judging, refinement, search and the training data made of them.

Defaults are profile `ours`; `profiles/paper.yaml` holds every published choice that differs
(SPaR, arXiv 2412.11605, and the authors' released code).
"""

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from spar_core.config.base import FrozenConfig, GrownConfig
from spar_core.config.pairs import PairsConfig
from spar_core.engines.base import Sampling
from spar_core.engines.model_reference import check_reference
from spar_core.methods.registry import method, names

if TYPE_CHECKING:
    from spar_core.methods.plugin import Method

Temperature = Annotated[float, Field(ge=0.0, le=2.0)]
TopP = Annotated[float, Field(gt=0.0, le=1.0)]
TokenCount = Annotated[int, Field(ge=1, le=131_072)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class SamplingConfig(FrozenConfig):
    """How completions are drawn."""

    temperature: Temperature = 0.7
    """Softmax temperature; 0 is greedy."""
    top_p: TopP = 1.0
    """Nucleus mass."""
    max_tokens: TokenCount = 2048
    """Limit of new tokens per completion."""

    def sampling(self) -> Sampling:
        """The engine's form of these values."""
        return Sampling(self.temperature, self.top_p, self.max_tokens)


class ResponsesConfig(SamplingConfig):
    """The actor's answers to self-play prompts (paper: n=5, T 0.9, top_p 0.9, 2048 tokens)."""

    per_prompt: Annotated[int, Field(ge=1, le=64)] = 5
    """Samples per prompt."""
    temperature: Temperature = 0.9
    """Softmax temperature."""
    top_p: TopP = 0.9
    """Nucleus mass."""


class JudgingConfig(SamplingConfig, GrownConfig):
    """The refiner's votes on one response (paper: 5 votes, T 0.7, top_p 1.0, 2048 tokens)."""

    later = ("verdict", "soft_votes", "equal_texts", "anchor_share", "most_repeated")

    votes: Annotated[int, Field(ge=1, le=64)] = 5
    """Votes asked per response."""
    quorum: Annotated[int, Field(ge=1, le=64)] = 3
    """Parseable votes needed before the majority decides (published: 1)."""
    max_reasks: Annotated[int, Field(ge=0, le=8)] = 2
    """Extra rounds of `votes` votes while quorum or majority is missing (published: 0)."""
    tie: Literal["reask", "one_more", "drop"] = "reask"
    """A tie is asked again in a whole round, or broken by one more vote (each bounded by `max_reasks`); or dropped at
    once (published)."""
    reasked: Literal["together", "alone"] = "together"
    """What counts after a round was asked again: all rounds together, or the last one alone (published, where it
    happens: in the tree, `search.max_reasks`)."""
    wordings: Annotated[int, Field(ge=1, le=16)] = 1
    """Wordings of the judge prompt that the votes are spread over (judge.txt, judge_2.txt, ... of the prompt set), so
    that what depends on the wording shows as split votes (published: 1)."""
    second_voter: str | None = None
    """A second model that gives half of the votes (rounded down): `first`, the refiner as it was after the warm start,
    or any model: a folder, `refiner/3`, a hub id (both are loaded at once), a server (http://host/v1#MODEL&key=VAR, or
    its description file). Published: none."""
    anchor: Literal["none", "verifier", "rules_then_votes", "rules_only"] = "none"
    """verifier: constraints the registry can check are decided by code, the rest by votes, which are always asked.
    rules_then_votes: a broken constraint is NO in the checker's words and no vote is asked; where none is broken, votes
    decide. rules_only: no votes at all; a cut answer, an empty one and one that trips a wire is NO. Rule truth then
    enters self-play data; recorded with every judgement (column `anchored`). Published: none."""
    anchor_share: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Share of the prompts that the checker knows, as where labels are few: which ones follows from their texts. Votes
    alone decide the others."""
    most_repeated: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.75
    """`rules_only`: an answer is NO where more than this share of its runs of four words repeat earlier ones. A weak
    refiner meets rules by saying things twice, and what learns from it does not end its answers: 0.3 keeps that out of
    the pairs (docs/results/smollm2.md). The hack rate is measured at 0.75."""

    verdict: Literal["text", "continuation"] = "text"
    """text: the verdict is read out of the vote's text (published). continuation: once the text has ended, the verdict
    line is begun for the model, which chooses between the two words: every vote can be read (docs/models.md)."""
    equal_texts: Literal["each", "once"] = "each"
    """Answers to one prompt that are equal to the letter: each is judged by votes of its own (published), or the first
    alone, and the others take over its judgement (column `votes_of`)."""
    soft_votes: bool = False
    """`continuation`: a vote counts by the probability of its YES instead of as one or none; the mean over the votes is
    the value, and decides (published: false)."""

    @field_validator("second_voter")
    @classmethod
    def _second_voter_in_form(cls, value: str | None) -> str | None:
        return None if value is None else check_reference(value)

    @model_validator(mode="after")
    def _votes_suffice(self) -> Self:
        if self.quorum > self.votes:
            raise ValueError(
                f"quorum {self.quorum} is above votes {self.votes}: it can never be met in one round; "
                f"set judging.quorum to at most {self.votes} or raise judging.votes"
            )
        if self.soft_votes and self.verdict == "text":
            raise ValueError(
                "soft_votes needs the probability of a verdict, which a text does not have: set "
                "judging.verdict=continuation too, or leave soft_votes out"
            )
        if self.anchor_share < 1 and self.anchor in ("none", "rules_only"):
            raise ValueError(
                f"anchor_share leaves prompts to the votes, and anchor is `{self.anchor}`: set judging.anchor to "
                "verifier or rules_then_votes, or leave anchor_share out"
            )
        if self.tie == "one_more" and self.reasked == "alone":
            raise ValueError(
                "tie=one_more breaks a tie by a vote that counts with those before it, and reasked=alone counts the "
                "last round alone: set judging.reasked=together, or judging.tie=reask"
            )
        if self.second_voter is not None and self.votes < 2:
            raise ValueError("judging.second_voter gives half of the votes: set judging.votes to at least 2")
        if self.wordings > self.votes:
            raise ValueError(
                f"wordings {self.wordings} is above votes {self.votes}: some would never be asked; "
                f"set judging.wordings to at most {self.votes} or raise judging.votes"
            )
        return self

    @property
    def reads_rules(self) -> bool:
        """Whether a checker takes part, so that the constraints of the prompts are an input."""
        return self.anchor != "none"

    @property
    def judges_by_rules(self) -> bool:
        """Whether a broken rule is told to the refiner in the checker's words, without a vote."""
        return self.anchor in ("rules_then_votes", "rules_only")

    @property
    def asks_votes(self) -> bool:
        """Whether anybody is asked for a judgement."""
        return self.anchor != "rules_only"

    def votes_alone(self) -> Self:
        """The same for one model's own votes on each text: what measures a judge, for which nothing else may answer."""
        return self.model_copy(update={"anchor": "none", "second_voter": None, "equal_texts": "each"})


class RefinementConfig(SamplingConfig):
    """The refiner's rewrites (paper: T 0.7, top_p 1.0, 3072 tokens)."""

    max_tokens: TokenCount = 3072
    """Limit of new tokens per rewrite."""


class SearchConfig(GrownConfig):
    """Tree search over rewrites (paper: branch 3, beam 2, depth 3, at most 15 nodes)."""

    later = ("votes_asked",)

    strategy: Literal["bfs", "dfs", "chain"] = "bfs"
    """Level by level; into the best child first; or one chain of rewrites, for which `node_budget` is the only limit
    (the iterative refinement that tree search is compared with)."""
    branch: Annotated[int, Field(ge=1, le=64)] = 3
    """Rewrites asked of each expanded node."""
    beam_width: Annotated[int, Field(ge=1, le=64)] = 2
    """Nodes kept per level (BFS) or descended into per node (DFS)."""
    max_depth: Annotated[int, Field(ge=1, le=32)] = 3
    """Rewrites on the longest path from the root."""
    node_budget: Annotated[int, Field(ge=1, le=4096)] = 15
    """Expansions (rewrites asked) per tree."""
    accept_above: Fraction = 0.5
    """A child whose value is strictly above this may be accepted."""
    selection: Literal["greedy", "proportional"] = "greedy"
    """Beam members: the best values, or drawn without replacement in proportion to value (published alternative)."""
    tie_break: Literal["closest", "earliest"] = "closest"
    """Equal values: the text closest to the root, then the earliest; published: the earliest."""
    root_value: Literal["measured", "zero"] = "measured"
    """Keep the root's measured value (a root at or above acceptance ends the tree), or count it 0 (published)."""
    detect_duplicates: bool = True
    """Children identical to their parent or an earlier sibling take no beam slot and are not judged."""
    accept_truncated: bool = False
    """Whether a rewrite cut by the token limit or missing its end marker may be judged (published: yes)."""
    failed_expansion_costs: bool = True
    """Whether an expansion without a usable rewrite uses node budget (published: no)."""
    rewrite_attempts: Annotated[int, Field(ge=1, le=64)] = 1
    """Times an expansion is asked for until its rewrite can be used; then it has failed. Every attempt is a node.
    Published: 9, three per call and three calls per expansion. A chain asks again by itself, within its budget."""
    max_reasks: Annotated[int, Field(ge=0, le=8)] | None = None
    """Extra rounds of votes on a tree node while its quorum or majority is missing, ties included (published: 2, which
    makes three rounds). Null: as `judging.max_reasks` and `judging.tie` say, for nodes as for responses."""
    cache_values: bool = False
    """Whether a rewrite with the very text of a node of its tree that was judged takes over that judgement and is not
    judged again (published: yes). It may still be accepted; `detect_duplicates` comes first."""
    votes_asked: Literal["all", "until_decided"] = "all"
    """until_decided: the votes on a rewrite are asked only until the search would do the same whatever the others say,
    and those on answers until the majority is certain, unless their shares feed training data. Texts, choices and data
    are those of `all`, the tokens fewer (docs/method.md). Published: all."""

    @property
    def accepts_failing(self) -> bool:
        """Whether an answer may be accepted as it is though most votes say NO: its exact share then decides."""
        return self.accept_above < 0.5 and self.root_value == "measured"

    def every_vote(self) -> Self:
        """The same search where the shares of votes are data: all are asked."""
        return self.model_copy(update={"votes_asked": "all"})

    def one_rewrite(self) -> Self:
        """The same choices for a single rewrite: a search of one node."""
        return self.model_copy(
            update={"strategy": "bfs", "branch": 1, "beam_width": 1, "max_depth": 1, "node_budget": 1}
        )

    def as_chain(self) -> Self:
        """The same choices and node budget for a chain of rewrites."""
        return self.model_copy(update={"strategy": "chain"})


class RefinerDataConfig(FrozenConfig):
    """Quotas of the refiner's training data (paper: about 10k in all)."""

    refinements: Annotated[int, Field(ge=0)] = 4000
    """(parent, critique) -> accepted rewrite."""
    tree_yes: Annotated[int, Field(ge=0)] = 1500
    """Judgements of tree nodes with 0.5 < value < 1, critique says yes."""
    tree_no: Annotated[int, Field(ge=0)] = 1000
    """Judgements of tree nodes with 0 < value < 0.5, critique says no."""
    response_no: Annotated[int, Field(ge=0)] = 500
    """Split-vote judgements of responses, majority NO."""
    response_yes: Annotated[int, Field(ge=0)] = 2500
    """Split-vote judgements of responses, majority YES."""
    unanimous: bool = False
    """Also fill the judgement quotas with unanimous votes once split votes run out (published: no)."""
    order: Literal["random", "boundary"] = "random"
    """Which judgements stay where a quota or a tree has too many: a seeded choice (published), or those whose votes
    were closest to an even split."""
    balance: bool = False
    """Cut the judgements to as many YES as NO, over trees and responses together (published: no)."""
    deduplicate: Literal["before_quota", "after_quota"] = "before_quota"
    """Deduplicate before filling the quotas, by the whole request; or after (published), by what was judged: then a
    judgement of a response goes where a refinement of that response stands."""
    target: Literal["rendered", "verbatim"] = "rendered"
    """What the refiner learns to write as a rewrite: reflection and response in the form of the prompt set, or the
    accepted rewrite's own text to the letter (published)."""
    replay_fraction: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of the finished set drawn from the warm start's examples of kind `replay` (all of them where it has none),
    against forgetting (published: 0)."""


class MethodConfig(FrozenConfig):
    """Everything that decides what data an iteration makes."""

    responses: ResponsesConfig = ResponsesConfig()
    """The actor's samples."""
    judging: JudgingConfig = JudgingConfig()
    """The refiner's votes."""
    refinement: RefinementConfig = RefinementConfig()
    """The refiner's rewrites."""
    search: SearchConfig = SearchConfig()
    """The tree search."""
    pairs: PairsConfig = PairsConfig()
    """The actor's training data."""
    refiner_data: RefinerDataConfig = RefinerDataConfig()
    """The refiner's training data."""
    prompt_set: str = "default"
    """A shipped prompt set (`default`; `per_constraint`; `plain` for small models; `published`; `starter`) or a folder
    of your own with the same file names and, where its answers have another form, a `format.yaml` (docs/method.md)."""

    def chosen(self) -> "Method":
        """The method that `pairs.method` names."""
        return method(self.pairs.method)

    def at(self, iteration: int) -> "Method":
        """The method whose turn it is in an iteration."""
        return self.chosen().at(iteration, self.pairs)

    def refiner_quotas(self) -> RefinerDataConfig:
        """The quotas of `refiner_data`; of judgements none where nobody asks the refiner for one (`rules_only`)."""
        if self.judging.asks_votes:
            return self.refiner_data
        unasked = ("tree_yes", "tree_no", "response_no", "response_yes")
        return self.refiner_data.model_copy(update=dict.fromkeys(unasked, 0))

    def makes_pairs(self) -> bool:
        """Whether any phase of the method makes preference pairs."""
        from spar_core.methods.plugin import PairsMethod

        return any(isinstance(phase, PairsMethod) for phase in self.chosen().phases)

    def reinforces(self) -> bool:
        """Whether in any phase of the method the actor learns from rewards for its own answers."""
        from spar_core.methods.plugin import OnlineMethod

        return any(isinstance(phase, OnlineMethod) for phase in self.chosen().phases)

    def search_for_pairs(self) -> SearchConfig | None:
        """The search that makes the pairs; None where none is made."""
        from spar_core.methods.plugin import PairsMethod

        searches = (
            phase.search(self.search)
            for phase in self.chosen().phases
            if isinstance(phase, PairsMethod) and "trees" in phase.reads
        )
        return next(searches, None)

    @model_validator(mode="after")
    def _rules_alone_judge_no_cut_rewrite(self) -> Self:
        if self.judging.anchor == "rules_only" and self.search.accept_truncated:
            raise ValueError(
                "judging.anchor `rules_only` has no votes that could tell a cut rewrite from a whole one; "
                "set method.search.accept_truncated=false"
            )
        return self

    @model_validator(mode="after")
    def _scores_are_there_to_choose_by(self) -> Self:
        scoring = any("scores" in getattr(phase, "reads", ()) for phase in self.chosen().phases)
        if self.pairs.length_control is not None and not scoring:
            raise ValueError(
                f"pairs.length_control chooses among samples by their rubric scores, and pairs.method "
                f"`{self.pairs.method}` has none: leave it unset, or take self_rewarding or meta_rewarding"
            )
        return self

    @model_validator(mode="after")
    def _somebody_follows_the_tokens(self) -> Self:
        if self.pairs.tokens is not None and not any(phase.follows_tokens for phase in self.chosen().phases):
            following = ", ".join(name for name in names() if any(each.follows_tokens for each in method(name).phases))
            raise ValueError(
                f"pairs.tokens is set, but pairs.method `{self.pairs.method}` does not follow it; these do: {following}"
            )
        return self

    @model_validator(mode="after")
    def _the_judge_that_learns_is_the_refiner(self) -> Self:
        if self.pairs.scorer == "actor" and self.chosen().refiner_learns_by == "dpo":
            raise ValueError(
                f"pairs.method `{self.pairs.method}` trains the judge, which is the refiner, so that the actor cannot "
                "score; set method.pairs.scorer=refiner, or method.pairs.method=self_rewarding"
            )
        return self
