"""What both roles learn from a teacher: its answers, judgements and rewrites, as far as they can be trusted.

The filters: the teacher's votes agree, a rewrite is accepted by its own judge, nothing is cut, and, where the prompt
holds constraints a checker knows and `warm_start.check_rules` is on, the checker does not contradict. The chats are
those of self-play (`spar_core.roles.requests`, `spar_core.data.refiner_examples`), byte for byte.
"""

from collections.abc import Iterable
from dataclasses import replace
from itertools import groupby
from typing import Final, NamedTuple

from spar_core.config.method import RefinerDataConfig
from spar_core.data.negatives import Negatives, choose_negatives
from spar_core.data.refiner_examples import IterationRecords, RefinerData, build_refiner_data
from spar_core.errors import DataError
from spar_core.hashing import content_id
from spar_core.prompts.library import PromptLibrary
from spar_core.records import Drop, Judgement, Message, Prompt, RefinerExample, Response, Tree, TreeNode, Verdict
from spar_core.roles.anchor import Verifier
from spar_core.roles.requests import answer_messages

STAGE: Final = "warm_start_examples"
ROOTS_STAGE: Final = "warm_start_roots"
SOURCE: Final = "teacher"
_MAJORITY = 0.5

# Reasons in the drop ledger
CUT = "truncated"
EMPTY = "empty_answer"
SPARE = "spare_answer"
RULE_BROKEN = "rule_broken"
VOTES_SPLIT = "votes_split"
RULES_DISAGREE = "rules_disagree"


class TaughtAnswers(NamedTuple):
    """Rows in: the teacher's answers. Rows out: examples, in the order of the answers."""

    examples: list[RefinerExample]
    drops: list[Drop]


class Trust(NamedTuple):
    """When a judgement of the teacher is learnt from.

    `min_agreement`: share of its readable votes that must agree. `verify`: the checker; None where rules do not count.
    """

    min_agreement: float
    verify: Verifier | None = None

    def doubt(self, prompt_text: str, text: str, judged: Judgement | TreeNode) -> str | None:
        """Why a judgement of `text` is not trusted: `votes_split` or `rules_disagree`; None where it is."""
        agreeing = max(judged.yes_votes, judged.no_votes) / max(judged.yes_votes + judged.no_votes, 1)
        if agreeing < self.min_agreement:
            return VOTES_SPLIT
        checked = self.verify(prompt_text, text) if self.verify else None
        ruled = checked.verdict if checked else None
        said = Verdict.YES if (judged.value or 0.0) > _MAJORITY else Verdict.NO
        return RULES_DISAGREE if ruled is not None and ruled is not said else None


def taught_answers(
    prompts: Iterable[Prompt], responses: Iterable[Response], verify: Verifier | None = None
) -> TaughtAnswers:
    """Per prompt the first of the teacher's answers that is whole and breaks no rule.

    Drops: `truncated`, `empty_answer`, `rule_broken` (detail: the broken constraints), `spare_answer`.

    Raises:
        DataError: an answer without its prompt.
    """
    texts = {prompt.prompt_id: prompt.text for prompt in prompts}
    taken: set[str] = set()
    examples: list[RefinerExample] = []
    drops: list[Drop] = []
    for response in responses:
        if response.prompt_id not in texts:
            raise DataError(f"prompt {response.prompt_id} is missing from the input")
        text = texts[response.prompt_id]
        reason, detail = _unfit(text, response, verify)
        if reason is None and response.prompt_id in taken:
            reason = SPARE
        if reason is not None:
            drops.append(Drop(STAGE, response.response_id, reason, detail))
            continue
        taken.add(response.prompt_id)
        messages = (*answer_messages(text), Message("assistant", response.text))
        name, of = content_id("taught_answer", messages), (response.prompt_id, response.response_id)
        examples.append(RefinerExample(name, "answer", SOURCE, messages, *of))
    return TaughtAnswers(examples, drops)


def taught_roots(
    prompts: Iterable[Prompt],
    responses: Iterable[Response],
    judgements: Iterable[Judgement],
    trust: Trust,
    *,
    run_seed: int,
) -> Negatives:
    """The answers the teacher is to mend: one per prompt that it called failing, and is trusted in that.

    Rows in: prompts. Drops: `no_failing_response`, and `not_judged`, whose detail says what speaks against a judgement.
    """
    prompts, responses = list(prompts), list(responses)
    texts, doubts = _Answers(prompts, responses), dict[str, str]()
    trusted = []
    for judgement in judgements:
        answer = texts.of(judgement)
        doubt = trust.doubt(answer.prompt_text, answer.text, judgement)
        if doubt is None:
            trusted.append(judgement)
        else:
            doubts[answer.prompt_id] = doubt
    chosen = choose_negatives(prompts, responses, trusted, run_seed=run_seed)
    drops = [Drop(ROOTS_STAGE, drop.record_id, drop.reason, doubts.get(drop.record_id, "")) for drop in chosen.drops]
    return Negatives(chosen.roots, drops)


def taught_refiner(
    records: IterationRecords, library: PromptLibrary, trust: Trust, quotas: RefinerDataConfig, *, run_seed: int
) -> RefinerData:
    """Examples for the refiner, at most as `quotas` (of `taught_quotas`) say.

    The judgements are those of the base actor's answers and, where they say YES, of the teacher's own rewrites: a weak
    actor's answers alone would teach that everything fails. Rows in are those of `build_refiner_data`, whose drops come
    beside `votes_split` and `rules_disagree`; of a rewrite that is not trusted, and its tree, these are the detail.
    """
    prompts, responses = list(records.prompts), list(records.responses)
    answers = _Answers(prompts, responses)
    drops: list[Drop] = []
    trusted: list[Judgement] = []
    for judgement in records.judgements:
        answer = answers.of(judgement)
        doubt = trust.doubt(answer.prompt_text, answer.text, judgement)
        if doubt is None:
            trusted.append(judgement)
        else:
            drops.append(Drop(STAGE, judgement.response_id, doubt))
    trees = {tree.tree_id: tree for tree in records.trees}
    texts = {prompt.prompt_id: prompt.text for prompt in prompts}
    nodes: list[TreeNode] = []
    for tree_id, group in groupby(records.nodes, key=lambda node: node.tree_id):
        tree = trees[tree_id]
        trees[tree_id], own = _trusted_tree(tree, list(group), texts[tree.prompt_id], trust)
        nodes += own
    trusted_records = IterationRecords(prompts, responses, trusted, trees.values(), nodes)
    made = build_refiner_data([trusted_records], library, quotas, run_seed=run_seed)
    examples = [replace(example, source=f"{SOURCE}/{example.source}") for example in made.examples]
    return RefinerData(examples, [*drops, *(replace(d, stage=STAGE) for d in made.drops)], made.rows_in + len(drops))


def _trusted_tree(tree: Tree, nodes: list[TreeNode], text: str, trust: Trust) -> tuple[Tree, list[TreeNode]]:
    """The tree with the best rewrite that is trusted as its accepted one, and without the judgements that are not."""
    doubted: str | None = None
    kept: list[TreeNode] = []
    for node in nodes:
        judged = node.depth > 0 and node.value is not None
        doubt = trust.doubt(text, node.response, node) if judged else None
        kept.append(node if doubt is None else replace(node, value=None, failure=doubt))
        doubted = doubted or doubt
    passing = [node for node in kept if node.depth > 0 and (node.value or 0.0) > _MAJORITY]
    if not passing:
        return replace(tree, accepted_node_id=None, stop_reason=doubted or tree.stop_reason), kept
    best = min(passing, key=lambda node: (-(node.value or 0.0), node.visit_order))
    return replace(tree, accepted_node_id=best.node_id), kept


def taught_quotas(layout: RefinerDataConfig, count: int, *, judges: bool = True) -> RefinerDataConfig:
    """Choices of `build_refiner_data` for `count` examples, in the layout of self-play's.

    Half are refinements; of the judgements half may say YES, those of answers and of rewrites together (`balance`).
    One that never `judges` (`judging.anchor: rules_only`) learns refinements alone.
    """
    judgements = count - count // 2 if judges else 0
    no, yes = judgements // 2, judgements - judgements // 2
    return layout.model_copy(
        update={
            "refinements": count - judgements,
            "tree_yes": yes,
            "tree_no": 0,
            "response_no": no,
            "response_yes": yes,
            "unanimous": True,
            "order": "random",
            "balance": True,
            "deduplicate": "before_quota",
            "replay_fraction": 0.0,
        }
    )


def _unfit(prompt_text: str, response: Response, verify: Verifier | None) -> tuple[str | None, str]:
    if response.finish_reason == "length":
        return CUT, ""
    if not response.text.strip():
        return EMPTY, ""
    checked = verify(prompt_text, response.text) if verify else None
    return (RULE_BROKEN, "; ".join(checked.failed)) if checked and checked.failed else (None, "")


class _Answer(NamedTuple):
    prompt_id: str
    prompt_text: str
    text: str


class _Answers:
    """The answers that judgements are about, by id."""

    def __init__(self, prompts: Iterable[Prompt], responses: Iterable[Response]) -> None:
        texts = {prompt.prompt_id: prompt.text for prompt in prompts}
        self._by_id = {
            response.response_id: _Answer(response.prompt_id, texts[response.prompt_id], response.text)
            for response in responses
            if response.prompt_id in texts
        }

    def of(self, judgement: Judgement) -> _Answer:
        """The answer that was judged, with its prompt.

        Raises:
            DataError: it, or its prompt, is missing.
        """
        found = self._by_id.get(judgement.response_id)
        if found is None:
            raise DataError(f"the answer {judgement.response_id}, or its prompt, is missing from the input")
        return found
