"""The registry as reward functions of other trainers: TRL's form (lists of completions and columns) and verl's.

trainer = GRPOTrainer(model, reward_funcs=constraint_reward, train_dataset=rows)  # rows with prompt and constraints
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from spar_core.constraints.patterns import CheckTimeoutError
from spar_core.constraints.registry import check
from spar_core.constraints.repaired import Variant
from spar_core.errors import DataError
from spar_core.records import Constraint

Completion = str | Sequence[Mapping[str, Any]]
"""A text, or the messages of a chat, whose contents count from the first one of the assistant."""
Given = str | Sequence[Constraint | Mapping[str, Any]] | None
"""One row's constraints: records, mappings with `kind` and `kwargs`, or either as JSON; none where there are none."""


def constraint_reward(
    completions: Sequence[Completion],
    constraints: Sequence[Given],
    detect_language: bool = True,
    variant: Variant = "reference",
    **_columns: Any,
) -> list[float | None]:
    """The share of each row's constraints that its completion meets, in [0, 1]; None for a row without constraints.

    A check without a verdict in its time counts as not met.

    Args:
        completions: what the model wrote, texts or chats.
        constraints: as many rows of constraints, as a data set's column of that name has them.
        detect_language: as in `check`.
        variant: as in `check`; `functools.partial` gives a trainer the repaired one.
        _columns: what TRL passes besides (prompts, token ids, other columns), not used.

    Raises:
        DataError: a row that is no list of constraints, an unknown kind or wrong arguments; the message names the row.
    """
    shares: list[float | None] = []
    for row, (completion, given) in enumerate(zip(completions, constraints, strict=True)):
        try:
            asked, text = constraints_of(given), _text(completion)
            met = [_met(constraint, text, detect_language, variant) for constraint in asked]
        except DataError as error:
            raise DataError(f"row {row}: {error}") from error
        shares.append(sum(met) / len(met) if met else None)
    return shares


def all_met_reward(
    completions: Sequence[Completion],
    constraints: Sequence[Given],
    detect_language: bool = True,
    variant: Variant = "reference",
    **columns: Any,
) -> list[float | None]:
    """1 for a completion that meets every constraint of its row, else 0; None for a row without constraints.

    Raises:
        DataError: as `constraint_reward`.
    """
    shares = constraint_reward(completions, constraints, detect_language, variant, **columns)
    return [None if share is None else float(share == 1) for share in shares]


def compute_score(data_source: str, solution_str: str, ground_truth: Given, extra_info: object = None) -> float:
    """verl's form: the share of the constraints, given as `ground_truth`, that one answer meets.

    Raises:
        DataError: as `constraint_reward`, or no constraints.
    """
    (share,) = constraint_reward([solution_str], [ground_truth])
    if share is None:
        raise DataError(f"a row of {data_source!r} has no constraints in ground_truth; give a list of kind and kwargs")
    return share


def constraints_of(given: Given) -> tuple[Constraint, ...]:
    """The constraints of one row; nulls among arguments, which columns of mixed kinds are full of, count as absent.

    Raises:
        DataError: not in one of the forms of `Given`.
    """
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError as error:
            raise DataError(f"constraints are not JSON: {given!r}") from error
    if not isinstance(given, Sequence | None):
        raise DataError(f"constraints must be a list of mappings with kind and kwargs, not {type(given).__name__}")
    return tuple(_constraint(item) for item in given or ())


def _constraint(item: object) -> Constraint:
    if isinstance(item, Constraint):
        return item
    if not isinstance(item, Mapping) or not isinstance(item.get("kind"), str):
        raise DataError(f"a constraint must be a mapping with kind and kwargs, not {item!r}")
    arguments = item.get("kwargs") or {}
    if isinstance(arguments, str):
        return Constraint(item["kind"], arguments)
    if not isinstance(arguments, Mapping):
        raise DataError(f"{item['kind']}: kwargs must be a mapping or its JSON, not {arguments!r}")
    return Constraint.create(item["kind"], **{name: value for name, value in arguments.items() if value is not None})


def _met(constraint: Constraint, text: str, detect_language: bool, variant: Variant) -> bool:
    try:
        return check(constraint, text, detect_language=detect_language, variant=variant)
    except CheckTimeoutError:
        return False


def _text(completion: Completion) -> str:
    if isinstance(completion, str):
        return completion
    return "\n".join(str(m.get("content") or "") for m in completion if m.get("role", "assistant") == "assistant")
