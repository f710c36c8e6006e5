"""What a method is: one object says what of an iteration it reads, and what the actor and the refiner learn from.

    from spar_core.data.pairs import Pairs, make_pair
    from spar_core.methods.plugin import PairsMethod

    class LongerOverShorter(PairsMethod):
        name = "longer_over_shorter"
        summary = "the longest over the shortest sample"
        reads = ("responses",)
        refiner_learns_by = None

        def pairs(self, rows, config, *, run_seed):
            answers, made = {}, []
            for response in rows.responses:
                answers.setdefault(response.prompt_id, []).append((response.text, response.response_id))
            for prompt in rows.prompts:
                ranked = sorted(answers.get(prompt.prompt_id, ()), key=lambda own: len(own[0]))
                if len(ranked) > 1:
                    made.append(make_pair(prompt.prompt_id, prompt.text, ranked[-1], ranked[0], 1.0))
            return Pairs(made, [])

    METHOD = LongerOverShorter()

    # pyproject.toml of your package:  [project.entry-points."spar.methods"]
    #                                  longer_over_shorter = "my_package.longer:METHOD"

The stages that make what is read are shared by all methods: in one home they are computed once.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from spar_core.config.method import SearchConfig
from spar_core.config.pairs import PairsConfig
from spar_core.data.pairs import Pairs
from spar_core.records import Judgement, Prompt, Response, RubricScore, Tree, TreeNode

Product = Literal["responses", "judgements", "trees", "scores"]
"""What stages make of an iteration's prompts: answers, votes on them, searches from failing ones, rubric scores."""
RefinerLearning = Literal["rft", "dpo"]
"""rft: supervised on contested judgements, and on refinements where there are trees; dpo: on pairs of judgements of its
own rubric scores."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The tables of an iteration, each read anew when it is asked for; those of the products that a method `reads`."""

    read: Callable[[str], Iterable[Any]]
    """The rows of a table by its name."""

    @property
    def prompts(self) -> Iterable[Prompt]:
        """The iteration's prompts."""
        return self.read("prompts")

    @property
    def responses(self) -> Iterable[Response]:
        """The actor's samples."""
        return self.read("responses")

    @property
    def judgements(self) -> Iterable[Judgement]:
        """The majority on each sample."""
        return self.read("judgements")

    @property
    def trees(self) -> Iterable[Tree]:
        """The searches."""
        return self.read("trees")

    @property
    def tree_nodes(self) -> Iterable[TreeNode]:
        """Their roots and rewrites; where `votes_spared` is above 0, `value` is the share among the votes asked."""
        return self.read("tree_nodes")

    @property
    def rubric_scores(self) -> Iterable[RubricScore]:
        """The mean rubric score of each sample."""
        return self.read("rubric_scores")


class Method(ABC):
    """What every method says of itself."""

    name: ClassVar[str]
    """As `method.pairs.method` names it."""
    summary: ClassVar[str]
    """What is learned from, in a line."""
    version: ClassVar[int] = 1
    """Raise it when its code makes other data of the same rows: it is then part of the stage's key."""
    refiner_learns_by: ClassVar[RefinerLearning | None] = "rft"
    """How the refiner learns unless `train_refiner` says otherwise; null: it is frozen."""
    follows_tokens: ClassVar[bool] = False
    """Whether `method.pairs.tokens` says how much is written. For a method of pairs, which must read `judgements`,
    further samples are drawn and judged with what is left: they are among the rows it reads."""
    rules_note: ClassVar[str] = ""
    """How rule truth enters what is learned, said at every run; such a method is refused under the published profile,
    and where prompts hold no rules. Empty: it does not."""

    @property
    def phases(self) -> tuple["Method", ...]:
        """The methods that take turns under this one; most are their own only one."""
        return (self,)

    def at(self, iteration: int, config: PairsConfig) -> "Method":
        """Which of the phases an iteration (1, 2, ...) follows."""
        return self


class OnlineMethod(Method):
    """The actor learns from rewards for its own answers to the prompts, by GRPO (`training.grpo`).

    No stage makes anything but the prompts, and the refiner learns nothing.
    """

    refiner_learns_by: ClassVar[RefinerLearning | None] = None
    follows_tokens: ClassVar[bool] = True


class PairsMethod(Method):
    """The actor learns from preference pairs, by DPO."""

    reads: ClassVar[tuple[Product, ...]]
    """What the pairs are made of, besides the prompts. Only that is made."""
    piecewise: ClassVar[bool] = False
    """Whether it reads `trees` alone and the pair of a tree follows from that tree and its prompt. `pairs` is then
    asked for part after part of the trees, so that memory does not grow with their number, and without `max_pairs`,
    which is seen to over all of them."""

    def search(self, config: SearchConfig) -> SearchConfig:
        """How the search of a method that reads `trees` differs from what is configured."""
        return config

    @abstractmethod
    def pairs(self, rows: Rows, config: PairsConfig, *, run_seed: int) -> Pairs:
        """The pairs, and a drop for every tree (every prompt, where no trees are read) that gave none.

        `run_seed`: every choice is derived from it (`spar_core.data.seeded_choice`), never from order or time.
        """
