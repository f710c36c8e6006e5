"""A growing tree: what every strategy shares. It asks for children and votes, keeps the books, ranks and selects."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import NamedTuple

from rapidfuzz.distance import Levenshtein

from spar_core.config.method import SearchConfig
from spar_core.hashing import content_id, derive_seed
from spar_core.records import TreeNode, Vote
from spar_core.roles.refiner import JudgementOutcome, Rewrite
from spar_core.roles.rewrite import TRUNCATED
from spar_core.search.asks import Asking, Expand, Judge, ask_judgements, ask_rewrites
from spar_core.search.root import Root


class _Slot(NamedTuple):
    """One expansion to make: the node, and which of its rewrites this is (0 = first)."""

    parent: TreeNode
    number: int


class _Rewrites(NamedTuple):
    """The rewrites of one node that one request gave; the first is its rewrite number `offset`."""

    parent: TreeNode
    offset: int
    rewrites: tuple[Rewrite, ...]


class Growth:
    """Nodes, votes and budget of one tree. `nodes[i].visit_order == i`; node 0 is the root.

    Ids of nodes belong to their tree. Seeds follow from a node's place alone, its root and the numbers of the rewrites
    on the way to it: what two searches with other choices ask in one place, they ask with the same seed, so that the
    first rewrite of a root, and the votes on it, are the same for every strategy and budget.
    """

    def __init__(self, tree_id: str, root: Root, config: SearchConfig, run_seed: int) -> None:
        self.tree_id = tree_id
        self.config = config
        self.accepted: TreeNode | None = None
        self.out_of_budget = False
        self.refused = False
        self.nodes = [_root_node(tree_id, root, config)]
        self.votes: list[Vote] = []
        self._places = [content_id("place", root.prompt_id, root.response_id)]
        self._prompt = root.prompt
        self._run_seed = run_seed
        self._spent = 0
        self._selections = 0

    @property
    def root(self) -> TreeNode:
        """Node 0."""
        return self.nodes[0]

    def expand(self, parents: Sequence[TreeNode], numbers: Sequence[int] = ()) -> Asking[list[TreeNode]]:
        """Expand each parent `branch` times, budget permitting, and judge the usable children.

        `numbers`: which of each parent's rewrites to ask for instead (0 = first), to go on where an earlier call ended.

        Returns the children that have a value, in visit order. `out_of_budget` tells afterwards whether the
        budget cut an expansion off; `refused` whether the engine refused every request.
        """
        wanted = numbers or range(self.config.branch)
        waiting = [_Slot(parent, number) for parent in parents for number in wanted]
        children: list[TreeNode] = []
        first = len(self.nodes)
        refusals = 0
        while waiting:
            allowed = self.config.node_budget - self._spent
            if allowed <= 0:
                self.out_of_budget = True
                break
            # A failed expansion that costs nothing leaves budget for slots still waiting: they are asked in the
            # next round. Every round uses up slots, so that free failures cannot go on for ever.
            now, waiting = waiting[:allowed], waiting[allowed:]
            for parent, offset, rewrites in (yield from self._rewrites(now)):
                refusals += sum(rewrite.refused for rewrite in rewrites)
                children.extend(self._add_children(parent, offset, rewrites))
        self.refused = 0 < refusals == len(self.nodes) - first
        if not children:
            return []
        return (yield from self._judged(children))

    def ranked(self, nodes: Sequence[TreeNode]) -> list[TreeNode]:
        """Best first: by value, then by the tie rule (fewest edits from the root's text, then the earliest)."""
        count = Counter(node.value for node in nodes)
        closest = self.config.tie_break == "closest"

        def key(node: TreeNode) -> tuple[float, int, int]:
            tied = closest and count[node.value] > 1
            distance = Levenshtein.distance(self.root.response, node.response) if tied else 0
            return (-(node.value or 0.0), distance, node.visit_order)

        return sorted(nodes, key=key)

    def accept_best(self, ranked: Sequence[TreeNode]) -> bool:
        """Accept the first of the ranked nodes if its value is above acceptance."""
        if not ranked or (ranked[0].value or 0.0) <= self.config.accept_above:
            return False
        self.accepted = replace(ranked[0], accepted=True)
        self.nodes[self.accepted.visit_order] = self.accepted
        return True

    def select(self, ranked: Sequence[TreeNode]) -> list[TreeNode]:
        """The beam: at most `beam_width` of the ranked nodes, best first."""
        width = self.config.beam_width
        if self.config.selection == "greedy" or len(ranked) <= width:
            return list(ranked[:width])
        random = Random(derive_seed(self._run_seed, "search.select", self._places[0], self._selections))
        self._selections += 1
        return _draw(ranked, width, random)

    def _rewrites(self, slots: Sequence[_Slot]) -> Asking[list[_Rewrites]]:
        """One request per parent, for as many rewrites as it has slots."""
        numbers: dict[int, list[int]] = {}
        for slot in slots:
            numbers.setdefault(slot.parent.visit_order, []).append(slot.number)
        asks = []
        for visit_order, own in numbers.items():
            parent, offset = self.nodes[visit_order], own[0]
            seed = derive_seed(self._run_seed, "refine", self._places[visit_order], offset)
            asks.append(Expand(parent.node_id, self._prompt, parent.response, parent.critique, offset, seed, len(own)))
        answers = yield from ask_rewrites(tuple(asks))
        return [
            _Rewrites(self.nodes[order], own[0], rewrites)
            for (order, own), rewrites in zip(numbers.items(), answers, strict=True)
        ]

    def _add_children(self, parent: TreeNode, offset: int, rewrites: Sequence[Rewrite]) -> list[TreeNode]:
        """Record every rewrite as a node, charge the budget, return the ones to judge."""
        usable = []
        for number, rewrite in enumerate(rewrites, start=offset):
            child = self._child(parent, rewrite)
            self.nodes.append(child)
            self._places.append(f"{self._places[parent.visit_order]}/{number}")
            if child.failure is None or self.config.failed_expansion_costs:
                self._spent += 1
            if child.failure is None and child.duplicate_of is None:
                usable.append(child)
        return usable

    def _child(self, parent: TreeNode, rewrite: Rewrite) -> TreeNode:
        visit_order = len(self.nodes)
        failure = rewrite.failure
        if failure == TRUNCATED and self.config.accept_truncated and rewrite.response:
            failure = None
        return TreeNode(
            tree_id=self.tree_id,
            node_id=content_id("node", self.tree_id, parent.node_id, visit_order),
            parent_id=parent.node_id,
            depth=parent.depth + 1,
            visit_order=visit_order,
            response=rewrite.response,
            reflection=rewrite.reflection,
            critique="",
            value=None,
            yes_votes=0,
            no_votes=0,
            unparseable_votes=0,
            duplicate_of=self._duplicated(parent, rewrite.response) if failure is None else None,
            accepted=False,
            finish_reason=rewrite.finish_reason,
            seed=rewrite.seed,
            failure=failure,
            thought=rewrite.thought,
        )

    def _duplicated(self, parent: TreeNode, response: str) -> str | None:
        """Id of the parent or the first usable sibling with this very text."""
        if not self.config.detect_duplicates:
            return None
        text = response.strip()
        if parent.response.strip() == text:
            return parent.node_id
        for node in self.nodes[parent.visit_order + 1 :]:
            if node.parent_id == parent.node_id and node.failure is None and node.response == text:
                return node.duplicate_of or node.node_id
        return None

    def _judged(self, children: Sequence[TreeNode]) -> Asking[list[TreeNode]]:
        """Judge the children; those left without a majority keep a null value and are not returned."""
        asks = tuple(
            Judge(child.node_id, self._places[child.visit_order], self._prompt, child.response, self._run_seed)
            for child in children
        )
        outcomes = yield from ask_judgements(asks)
        valued = []
        for child, outcome in zip(children, outcomes, strict=True):
            self.votes.extend(outcome.votes)
            node = self.nodes[child.visit_order] = _with_judgement(child, outcome)
            if node.value is not None:
                valued.append(node)
        return valued


def _root_node(tree_id: str, root: Root, config: SearchConfig) -> TreeNode:
    return TreeNode(
        tree_id=tree_id,
        node_id=content_id("node", tree_id, None, 0),
        parent_id=None,
        depth=0,
        visit_order=0,
        response=root.response,
        reflection="",
        critique=root.critique,
        value=0.0 if config.root_value == "zero" else root.value,
        yes_votes=root.yes_votes,
        no_votes=root.no_votes,
        unparseable_votes=root.unparseable_votes,
        duplicate_of=None,
        accepted=False,
        finish_reason=root.finish_reason,
        seed=root.seed,
        anchored=root.anchored,
    )


def _with_judgement(child: TreeNode, outcome: JudgementOutcome) -> TreeNode:
    judgement = outcome.judgement
    if judgement is None:
        verdicts = Counter(vote.verdict.value for vote in outcome.votes)
        counts = (verdicts["YES"], verdicts["NO"], verdicts["UNPARSEABLE"])
        return replace(
            child,
            yes_votes=counts[0],
            no_votes=counts[1],
            unparseable_votes=counts[2],
            failure=f"judge:{outcome.failure}",
        )
    return replace(
        child,
        value=judgement.value,
        critique=judgement.critique,
        yes_votes=judgement.yes_votes,
        no_votes=judgement.no_votes,
        unparseable_votes=judgement.unparseable_votes,
        anchored=judgement.anchored,
    )


def _draw(ranked: Sequence[TreeNode], width: int, random: Random) -> list[TreeNode]:
    """`width` nodes without replacement, each in proportion to its value; evenly where only zeros are left."""
    left, drawn = list(ranked), []
    for _ in range(width):
        weights = [node.value or 0.0 for node in left]
        total = sum(weights)
        point = random.random() * (total or len(left))
        index = 0
        while index < len(left) - 1:
            point -= weights[index] if total else 1.0
            if point < 0:
                break
            index += 1
        drawn.append(left.pop(index))
    positions = {node.visit_order: position for position, node in enumerate(ranked)}
    return sorted(drawn, key=lambda node: positions[node.visit_order])
