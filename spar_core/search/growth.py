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
from spar_core.roles.ballot import A_MAJORITY, EVERY_VOTE, Wanted
from spar_core.roles.refiner import Rewrite
from spar_core.roles.rewrite import FAILURES, TRUNCATED
from spar_core.search.asks import Asking, Expand, Judge, ask_judgements, ask_rewrites
from spar_core.search.nodes import child_node, judged_as, root_node, with_judgement
from spar_core.search.root import Root
from spar_core.search.shares import EVERYTHING, Uses, share_of, unsettled_best, unsettled_choice


class _Slot(NamedTuple):
    """One expansion to make: of which node, and how often it was asked for in vain."""

    parent: TreeNode
    failed: int = 0


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

    def __init__(self, tree_id: str, root: Root, config: SearchConfig, run_seed: int, uses: Uses = EVERYTHING) -> None:
        """`uses`: what is read of the tree; under `votes_asked: until_decided` other votes are spared."""
        self.tree_id = tree_id
        self.config = config
        self.accepted: TreeNode | None = None
        self.out_of_budget = False
        self.refused = False
        self.nodes = [root_node(tree_id, root, config)]
        self._votes: dict[int, tuple[Vote, ...]] = {}  # by visit order of the node that was judged
        self._uses = uses
        self._wanted = A_MAJORITY if config.votes_asked == "until_decided" and not uses.shares else EVERY_VOTE
        self._places = [content_id("place", root.prompt_id, root.response_id)]
        self._judged_texts: dict[str, int] = {}  # visit order of the node of each text
        self._prompt = root.prompt
        self._run_seed = run_seed
        self._spent = 0
        self._selections = 0

    @property
    def root(self) -> TreeNode:
        """Node 0."""
        return self.nodes[0]

    @property
    def votes(self) -> tuple[Vote, ...]:
        """All votes, by node."""
        return tuple(vote for visit_order in sorted(self._votes) for vote in self._votes[visit_order])

    def expand(self, parents: Sequence[TreeNode], rewrites: int | None = None) -> Asking[list[TreeNode]]:
        """Expand each parent `branch` times, budget permitting, and judge the usable children.

        `rewrites`: how many to ask of each parent instead, each once whatever `rewrite_attempts` says.

        Returns the children that have a value, in visit order. `out_of_budget` tells afterwards whether the
        budget cut an expansion off; `refused` whether the engine refused every request.
        """
        attempts = self.config.rewrite_attempts if rewrites is None else 1
        waiting = [_Slot(parent) for parent in parents for _ in range(rewrites or self.config.branch)]
        children: list[TreeNode] = []
        first = len(self.nodes)
        refusals = 0
        while waiting:
            allowed = self.config.node_budget - self._spent
            if allowed <= 0:
                self.out_of_budget = True
                break
            # A failed expansion that costs nothing leaves budget for slots still waiting: they are asked in the
            # next round. Every round uses up slots or attempts, so that free failures cannot go on for ever.
            now, waiting = waiting[:allowed], waiting[allowed:]
            made: list[TreeNode] = []
            for asked in (yield from self._rewrites(now)):
                refusals += sum(rewrite.refused for rewrite in asked.rewrites)
                made.extend(self._add_children(asked))
            children.extend(child for child in made if child.failure is None and child.duplicate_of is None)
            # What an engine refused it would refuse again.
            failed = [slot for slot, child in zip(now, made, strict=True) if child.failure in FAILURES]
            waiting = [*(_Slot(s.parent, s.failed + 1) for s in failed if s.failed + 1 < attempts), *waiting]
        self.refused = 0 < refusals == len(self.nodes) - first
        if not children:
            return []
        judged = yield from self._judged(children)
        ranked = not self.out_of_budget and self.config.strategy != "chain"
        return (yield from self._settled(judged, ranked=ranked))

    def settle_best(self) -> Asking[None]:
        """Ask for the spared votes that say which node has the highest value."""
        while nodes := self._with_value(self.nodes):
            unsettled = unsettled_best([share_of(node) for node in nodes])
            if not unsettled:
                return
            yield from self._complete([nodes[place] for place in unsettled])

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
        """One request per parent, for as many rewrites as it has slots (those of a parent stand together)."""
        wanted = Counter(slot.parent.visit_order for slot in slots)
        asked = Counter(node.parent_id for node in self.nodes)
        parents, asks = [self.nodes[visit_order] for visit_order in wanted], []
        for parent in parents:
            offset = asked[parent.node_id]
            seed = derive_seed(self._run_seed, "refine", self._places[parent.visit_order], offset)
            texts = (self._prompt, parent.response, parent.critique)
            asks.append(Expand(parent.node_id, *texts, offset, seed, wanted[parent.visit_order]))
        answers = yield from ask_rewrites(tuple(asks))
        return [_Rewrites(*made) for made in zip(parents, (ask.offset for ask in asks), answers, strict=True)]

    def _add_children(self, asked: _Rewrites) -> list[TreeNode]:
        """Record every rewrite as a node and charge the budget."""
        made = []
        for number, rewrite in enumerate(asked.rewrites, start=asked.offset):
            child = self._child(asked.parent, rewrite)
            self.nodes.append(child)
            self._places.append(f"{self._places[asked.parent.visit_order]}/{number}")
            if child.failure is None or self.config.failed_expansion_costs:
                self._spent += 1
            made.append(child)
        return made

    def _child(self, parent: TreeNode, rewrite: Rewrite) -> TreeNode:
        failure = rewrite.failure
        if failure == TRUNCATED and self.config.accept_truncated and rewrite.response:
            failure = None
        duplicate_of = self._duplicated(parent, rewrite.response) if failure is None else None
        return child_node(parent, len(self.nodes), rewrite, failure, duplicate_of)

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
        asked = self._to_judge(children)
        known = {**self._judged_texts, **{child.response: child.visit_order for child in asked}}
        yield from self._ask_votes(asked)
        for child in children:
            if child not in asked:
                self.nodes[child.visit_order] = judged_as(child, self.nodes[known[child.response]])
        return self._with_value(children)

    def _ask_votes(self, nodes: Sequence[TreeNode], begun: bool = False) -> Asking[None]:
        """Ask for votes on the nodes: as few as decide where votes are spared, or all that are left."""
        asks = tuple(
            Judge(
                node.node_id,
                self._places[node.visit_order],
                self._prompt,
                node.response,
                self._run_seed,
                Wanted(begun=self._votes[node.visit_order]) if begun else self._wanted,
            )
            for node in nodes
        )
        outcomes = (yield from ask_judgements(asks)) if asks else []
        for node, outcome in zip(nodes, outcomes, strict=True):
            self._votes[node.visit_order] = outcome.votes
            judged = self.nodes[node.visit_order] = with_judgement(node, outcome)
            if self.config.cache_values and judged.value is not None:
                self._judged_texts[judged.response] = judged.visit_order

    def _settled(self, children: Sequence[TreeNode], *, ranked: bool) -> Asking[list[TreeNode]]:
        """The children, once the votes spared so far can change nothing of what the search does with them."""
        config = self.config
        while children:
            deeper = ranked and children[0].depth < config.max_depth
            shares = [share_of(child) for child in children]
            needs = {"ranked": deeper, "exact_winner": self._uses.accepted}
            unsettled = unsettled_choice(shares, config.accept_above, **needs)
            if not unsettled:
                break
            yield from self._complete([children[place] for place in unsettled])
            children = self._with_value(children)
        return list(children)

    def _complete(self, nodes: Sequence[TreeNode]) -> Asking[None]:
        """Ask for the votes that these nodes, or the nodes whose judgement they have taken over, were spared."""
        judged = {node.node_id: node for node in self.nodes}
        originals = {node.duplicate_of or node.node_id for node in nodes if node.votes_spared}
        yield from self._ask_votes([judged[node_id] for node_id in judged if node_id in originals], begun=True)
        for node in self.nodes:
            if node.duplicate_of in originals and node.value is not None:
                self.nodes[node.visit_order] = judged_as(node, self.nodes[judged[node.duplicate_of].visit_order])

    def _with_value(self, nodes: Sequence[TreeNode]) -> list[TreeNode]:
        """Those of the nodes that have a value, as they are now."""
        return [now for node in nodes if (now := self.nodes[node.visit_order]).value is not None]

    def _to_judge(self, children: Sequence[TreeNode]) -> list[TreeNode]:
        """All of them; with `cache_values` the first of each text that was not judged before."""
        if not self.config.cache_values:
            return list(children)
        new = {child.response: child for child in reversed(children) if child.response not in self._judged_texts}
        return sorted(new.values(), key=lambda child: child.visit_order)


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
