"""Texts a refiner judged by votes, beside what a checker knows about them: what its calibration is computed from.

As rows of `eval_items` (`judged_item` writes, `judged_text` reads) they say who wrote the text, in the metric:

| metric | text |
| --- | --- |
| judge | a held-out answer of the first actor |
| judge_own | a held-out answer of the iteration's own actor, as many wrong ones as right ones where there are enough |
| judge_rewrite | a rewrite of the refiner itself, from its search |
| judge_first_rewrite | a rewrite of the first refiner, from its search |
"""

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final, NamedTuple, Self

from spar_core.evaluation.truth import broken_constraints
from spar_core.hashing import content_id
from spar_core.records import EvalItem, Prompt, TreeNode, Verdict, Vote

FIRST_ANSWERS: Final = "judge"
OWN_ANSWERS: Final = "judge_own"
REWRITES: Final = "judge_rewrite"
FIRST_REWRITES: Final = "judge_first_rewrite"
JUDGED: Final = (FIRST_ANSWERS, OWN_ANSWERS, REWRITES, FIRST_REWRITES)


class Ballot(NamedTuple):
    """The votes on one text and their majority; `said` is null where they made none (tie, quorum, refusal)."""

    said: bool | None
    yes: int = 0
    no: int = 0
    unparseable: int = 0

    @classmethod
    def of_votes(cls, votes: Iterable[Vote], decided: bool) -> Self:
        """The votes of one text. `decided`: they made a majority under the configured rules."""
        verdicts = [vote.verdict for vote in votes]
        yes, no = verdicts.count(Verdict.YES), verdicts.count(Verdict.NO)
        return cls(yes > no if decided else None, yes, no, len(verdicts) - yes - no)

    @classmethod
    def of_node(cls, node: TreeNode) -> Self:
        """The votes of a judged tree node."""
        said = None if node.value is None else node.yes_votes > node.no_votes
        return cls(said, node.yes_votes, node.no_votes, node.unparseable_votes)


class Writing(NamedTuple):
    """Where a judged text comes from: its id, and for a rewrite the answer its tree mends and how deep it lies."""

    text_id: str
    root_id: str | None = None
    depth: int = 0


class JudgedText(NamedTuple):
    """One judged text. `share` is yes / (yes + no), null where `said` is; `broken` is empty where it is right."""

    prompt_id: str
    kinds: tuple[str, ...]
    broken: tuple[str, ...]
    said: bool | None
    share: float | None
    root_id: str | None = None
    depth: int = 0
    source: str = ""
    """Of its prompt: the world, and which half of it."""

    @property
    def right(self) -> bool:
        """What the checker says."""
        return not self.broken


def judged_item(
    metric: str, benchmark: str, model_digest: str, prompt: Prompt, text: str, ballot: Ballot, writing: Writing
) -> EvalItem:
    """Whether the votes' majority on one text is true; value null where there was none."""
    broken = broken_constraints(prompt, text)
    right, said = not broken, ballot.said
    detail = {
        "source": prompt.source,
        "kinds": [constraint.kind for constraint in prompt.constraints],
        "broken": list(broken),
        "truth": right,
        "said": said,
        "share": None if said is None else ballot.yes / (ballot.yes + ballot.no),
        "yes": ballot.yes,
        "no": ballot.no,
        "unparseable": ballot.unparseable,
    }
    if writing.root_id is not None:
        detail |= {"root": writing.root_id, "depth": writing.depth}
    item_id = content_id("eval", benchmark, metric, model_digest, writing.text_id)
    value = None if said is None else float(said == right)
    text_of_detail = json.dumps(detail, sort_keys=True)
    item = EvalItem(benchmark, "refiner", model_digest, item_id, prompt.prompt_id, metric, value, text_of_detail)
    return replace(item, response_id=writing.text_id)


def judged_text(item: EvalItem) -> JudgedText:
    """What `judged_item` wrote."""
    detail: dict[str, Any] = json.loads(item.detail)
    return JudgedText(
        prompt_id=item.cluster_id,
        kinds=tuple(detail["kinds"]),
        broken=tuple(detail["broken"]),
        said=detail["said"],
        share=detail["share"],
        root_id=detail.get("root"),
        depth=detail.get("depth", 0),
        source=detail["source"],
    )
