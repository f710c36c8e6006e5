"""The refiner's training data: refinements that were accepted and judgements that were contested (method, step 7).

Texts are made by the same functions that inference asks with (`spar_core.roles.requests`), so a model is trained
on exactly the chats it will see.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Literal, NamedTuple

from spar_core.config.method import RefinerDataConfig
from spar_core.data.contest import contested, distance_from_boundary
from spar_core.data.judgement_chats import JudgedText
from spar_core.data.quota import Candidate, Place, Quota, surplus
from spar_core.data.seeded_choice import rank
from spar_core.errors import DataError
from spar_core.hashing import content_id, digest
from spar_core.prompts.library import PromptLibrary
from spar_core.records import (
    Drop,
    Judgement,
    Message,
    Prompt,
    RefinerExample,
    Response,
    Tree,
    TreeNode,
)
from spar_core.roles.requests import judge_messages, refine_messages
from spar_core.roles.rewrite import format_rewrite

STAGE = "refiner_data"
REFINEMENT = "tree_refinement"
TREE_YES = "tree_yes"
TREE_NO = "tree_no"
RESPONSE_NO = "response_no"
RESPONSE_YES = "response_yes"
_MAJORITY = 0.5


class IterationRecords(NamedTuple):
    """What an iteration recorded, or a part of it: prompts, and answers with judgements or trees with nodes to them.

    The nodes of a tree stand together. All is read twice at most, so that none can be an iterator.
    """

    prompts: Iterable[Prompt]
    responses: Iterable[Response]
    judgements: Iterable[Judgement]
    trees: Iterable[Tree]
    nodes: Iterable[TreeNode]


class RefinerData(NamedTuple):
    """Examples and drops. Rows in: trees + tree nodes but roots + response judgements + replayed examples."""

    examples: list[RefinerExample]
    drops: list[Drop]
    rows_in: int


def build_refiner_data(
    parts: Sequence[IterationRecords],
    library: PromptLibrary,
    config: RefinerDataConfig,
    *,
    run_seed: int,
    replay: Sequence[RefinerExample] = (),
    on_drop: Callable[[Drop], None] | None = None,
) -> RefinerData:
    """Fill the quotas of `config`, each by seeded choice.

    Candidates: per accepted tree its last edge (the accepted node's parent and that parent's critique -> the
    rewrite); per tree at most one judged node of each verdict; every response judgement. A judgement's critique is
    a vote that agrees with its majority (or with the checker, under `judging.anchor: verifier`). Where a rule decided
    without a vote, its words are the critique, and the refiner does learn them: it was asked for by name. Where votes
    were asked about each constraint, one constraint of that vote is learned, by seeded choice: of a NO one that is not
    met; what a rule decided is then nothing that is asked.

    Drops: `not_accepted`, `root_accepted`, `not_judged` (node without a value), `unanimous`, `critique_by_rule` (a text
    that no model wrote, as an answer of the refiner), `one_per_tree`, `duplicate` (the same request, whatever the
    answer; under `deduplicate: after_quota` the same response to the same prompt, whatever is asked about it),
    `over_quota`, `unbalanced`.

    Votes are not needed: a judgement carries its critique. Held in memory: of one part the prompts' texts and the
    contested judgements (all, with `unanimous`), and the chosen examples; of all else a digest for each request.

    Args:
        parts: what one iteration recorded, in its order; a record and what it belongs to are in one part.
        library: the prompt set that inference uses.
        config: quotas and choices.
        run_seed: the run's seed.
        replay: warm-start examples `replay_fraction` is drawn from.
        on_drop: told of every drop, which then is not among those returned.

    Raises:
        DataError: a record whose prompt, tree or response is missing, or nodes of a tree that stand apart.
    """
    drops: list[Drop] = []
    collector = _Collector(library, config, run_seed, on_drop or drops.append)
    for part in parts:
        collector.read_trees(part)
    for part in parts:
        collector.leave_out(part.judgements)
    for part in parts:
        collector.read_judgements(part)
    examples = collector.finish()
    replayed = _replayed(replay, len(examples), config.replay_fraction, run_seed)
    return RefinerData(examples + replayed, drops, collector.rows_in + len(replayed))


class _Collector:
    """Turns records into candidates and offers them to the quotas, in the order of `_QUOTAS`."""

    def __init__(
        self, library: PromptLibrary, config: RefinerDataConfig, run_seed: int, on_drop: Callable[[Drop], None]
    ) -> None:
        self.rows_in = 0
        self._library = library
        self._config = config
        self._run_seed = run_seed
        self._texts: Mapping[str, str] = {}
        self._on_drop = on_drop
        self._seen: set[str] | None = set() if config.deduplicate == "before_quota" else None
        sizes = {
            REFINEMENT: config.refinements,
            TREE_YES: config.tree_yes,
            TREE_NO: config.tree_no,
            RESPONSE_NO: config.response_no,
            RESPONSE_YES: config.response_yes,
        }
        self._quotas = {source: Quota(size) for source, size in sizes.items()}

    def read_trees(self, part: IterationRecords) -> None:
        """Offer refinements and node judgements."""
        trees = {tree.tree_id: tree for tree in part.trees}
        self._texts = _texts(part)
        self.rows_in += len(trees)
        read: set[str] = set()
        for tree_id, group in groupby(part.nodes, key=lambda node: node.tree_id):
            if tree_id in read:
                raise DataError(f"the nodes of tree {tree_id} do not stand together; sort nodes by tree")
            if tree_id not in trees:
                raise DataError(f"nodes of tree {tree_id} without the tree; were all shards of the search given?")
            read.add(tree_id)
            self._read_tree(trees[tree_id], list(group))
        if missing := trees.keys() - read:
            raise DataError(f"{len(missing)} trees without nodes, such as {min(missing)}")

    def leave_out(self, judgements: Iterable[Judgement]) -> None:
        """Count response judgements, and drop those that teach nothing."""
        for judgement in judgements:
            self.rows_in += 1
            unfit = self._unfit(judgement)
            if unfit is not None:
                self._drop(judgement.response_id, unfit)

    def read_judgements(self, part: IterationRecords) -> None:
        """Offer the response judgements that were not left out."""
        self._texts = _texts(part)
        wanted = {judged.response_id: judged for judged in part.judgements if self._unfit(judged) is None}
        for response in part.responses:
            found = wanted.pop(response.response_id, None)
            if found is not None:
                source = RESPONSE_YES if found.value > _MAJORITY else RESPONSE_NO
                place = self._place(source, found, found.response_id)
                of = (response.response_id, None, found.by_constraint)
                judged = JudgedText(response.prompt_id, response.text, found.critique, *of)
                self._offer(self._judgement(source, place, judged))
        if wanted:
            raise DataError(f"{len(wanted)} judgements without their response, such as {min(wanted)}")

    def finish(self) -> list[RefinerExample]:
        """The chosen examples, in the order of the quotas and of places in them."""
        chosen: list[Candidate] = []
        seen: set[str] = set()
        for source, quota in self._quotas.items():
            for candidate in quota.chosen():
                if candidate.request_digest in seen:
                    self._drop(candidate.record_id, "duplicate", source)
                    continue
                seen.add(candidate.request_digest)
                chosen.append(candidate)
        cut = self._unbalanced(chosen)
        for candidate in cut:
            self._drop(candidate.record_id, "unbalanced", candidate.example.source)
        left_out = {candidate.record_id for candidate in cut}
        return [candidate.example for candidate in chosen if candidate.record_id not in left_out]

    def _unbalanced(self, chosen: Sequence[Candidate]) -> list[Candidate]:
        if not self._config.balance:
            return []
        yes = [candidate for candidate in chosen if candidate.example.source in (TREE_YES, RESPONSE_YES)]
        no = [candidate for candidate in chosen if candidate.example.source in (TREE_NO, RESPONSE_NO)]
        return surplus(yes, no)

    def _read_tree(self, tree: Tree, nodes: list[TreeNode]) -> None:
        self.rows_in += sum(node.depth > 0 for node in nodes)
        by_id = {node.node_id: node for node in nodes}
        accepted = by_id.get(tree.accepted_node_id or "")
        if accepted is None:
            self._drop(tree.tree_id, "not_accepted", tree.stop_reason)
        elif accepted.parent_id is None:
            self._drop(tree.tree_id, "root_accepted")
        elif self._speaks_the_rules(parent := by_id[accepted.parent_id]):
            self._drop(tree.tree_id, "critique_by_rule", REFINEMENT)
        else:
            self._offer(self._refinement(tree, parent, accepted))
        for source, group in self._contested_nodes(nodes):
            places = {node.node_id: self._place(source, node, node.node_id) for node in group}
            first, *others = sorted(group, key=lambda node: places[node.node_id])
            of = (first.node_id, tree.tree_id, first.by_constraint)
            judged = JudgedText(tree.prompt_id, first.response, first.critique, *of)
            self._offer(self._judgement(source, places[first.node_id], judged))
            for node in others:
                self._drop(node.node_id, "one_per_tree", source)

    def _contested_nodes(self, nodes: Sequence[TreeNode]) -> Iterator[tuple[str, list[TreeNode]]]:
        groups: dict[str, list[TreeNode]] = {TREE_YES: [], TREE_NO: []}
        for node in nodes:
            if node.depth == 0:
                continue  # the root's judgement is that of its response
            if node.value is None:
                self._drop(node.node_id, "not_judged", node.failure or "duplicate")
            elif (unfit := self._unfit(node)) is not None:
                self._drop(node.node_id, unfit)
            else:
                groups[TREE_YES if node.value > _MAJORITY else TREE_NO].append(node)
        return ((source, group) for source, group in groups.items() if group)

    def _unfit(self, judged: Judgement | TreeNode) -> str | None:
        """Why a judgement teaches nothing; None where it does."""
        if not self._config.unanimous and not contested(judged):
            return "unanimous"
        unasked = judged.anchored == "rule" and self._library.format.judge == "per_constraint"
        return "critique_by_rule" if unasked or judged.anchored == "verdict_and_critique" else None

    def _speaks_the_rules(self, parent: TreeNode) -> bool:
        """Whether a refinement of this node would put a checker's words into the refiner's mouth, to be learned."""
        continues = self._library.format.refine == "continuation"
        return continues and parent.anchored == "verdict_and_critique"

    def _place(self, source: str, judged: Judgement | TreeNode | None, record_id: str) -> Place:
        """Split votes first, then as `order` says, then by seeded rank."""
        seeded = rank(self._run_seed, f"{STAGE}.{source}", record_id)
        if judged is None:
            return (False, 0.0, *seeded)
        distance = distance_from_boundary(judged) if self._config.order == "boundary" else 0.0
        return (not contested(judged), distance, *seeded)

    def _refinement(self, tree: Tree, parent: TreeNode, accepted: TreeNode) -> Candidate:
        prompt = self._text(tree.prompt_id)
        request = refine_messages(self._library, prompt, parent.response, parent.critique)
        answer = format_rewrite(accepted.response, accepted.reflection, self._library.format.markers)
        if self._config.target == "verbatim":
            if not accepted.rewrite:
                raise DataError(
                    f"node {accepted.node_id} lacks the refiner's own text (column `rewrite`): it was searched by an "
                    "earlier version; search again, or set method.refiner_data.target=rendered"
                )
            answer = accepted.rewrite
        made = _example("refinement", REFINEMENT, request, answer)
        example = replace(made, prompt_id=tree.prompt_id, text_id=accepted.node_id, tree_id=tree.tree_id)
        place = self._place(REFINEMENT, None, tree.tree_id)
        return Candidate(tree.tree_id, place, self._same(prompt, parent.response, request), example)

    def _judgement(self, source: str, place: Place, judged: JudgedText) -> Candidate:
        prompt = self._text(judged.prompt_id)
        request, answer = judged.chat(self._library, prompt, self._run_seed)
        made = _example("judgement", source, request, answer)
        example = replace(made, prompt_id=judged.prompt_id, text_id=judged.text_id, tree_id=judged.tree_id)
        return Candidate(place[-1], place, self._same(prompt, judged.text, request), example)

    def _same(self, prompt: str, response: str, request: tuple[Message, ...]) -> str:
        """What makes two candidates the same: the request, or (published: the first user message) what is judged."""
        if self._config.deduplicate == "after_quota":
            return digest(judge_messages(self._library, prompt, response))
        return digest(request)

    def _offer(self, candidate: Candidate) -> None:
        source = candidate.example.source
        if self._seen is not None:
            if candidate.request_digest in self._seen:
                self._drop(candidate.record_id, "duplicate", source)
                return
            self._seen.add(candidate.request_digest)
        pushed_out = self._quotas[source].offer(candidate)
        if pushed_out is not None:
            self._drop(pushed_out.record_id, "over_quota", source)

    def _text(self, prompt_id: str) -> str:
        try:
            return self._texts[prompt_id]
        except KeyError:
            raise DataError(f"prompt {prompt_id} is missing from the input") from None

    def _drop(self, record_id: str, reason: str, detail: str = "") -> None:
        self._on_drop(Drop(STAGE, record_id, reason, detail))


def _texts(part: IterationRecords) -> dict[str, str]:
    return {prompt.prompt_id: prompt.text for prompt in part.prompts}


def _example(
    kind: Literal["judgement", "refinement"], source: str, request: tuple[Message, ...], answer: str
) -> RefinerExample:
    messages = (*request, Message("assistant", answer))
    return RefinerExample(content_id("refiner_example", kind, messages), kind, source, messages)


def _replayed(pool: Sequence[RefinerExample], new: int, fraction: float, run_seed: int) -> list[RefinerExample]:
    """Examples such that they are `fraction` of the finished set, as far as the pool reaches."""
    wanted = round(new * fraction / (1.0 - fraction))
    in_order = sorted(pool, key=lambda example: rank(run_seed, f"{STAGE}.replay", example.example_id))
    return [replace(example, kind="replay", source=f"warm_start/{example.kind}") for example in in_order[:wanted]]
