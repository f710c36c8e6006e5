"""How much work each stage of self-play is: rows, requests, tokens and the rows it hands on, before it has run.

Beside the stages there is the probe that a run may begin with (`PROBE`). A function per stage takes the configuration
and the rows of its inputs by table. What no configuration tells, such as how long answers are, comes from
`Assumptions`; where earlier runs exist, `calibrated` puts what they took in its place.
"""

import math
from collections.abc import Callable
from typing import Final, Literal, NamedTuple

from spar_core.config.run import RunConfig
from spar_core.config.training import DpoTrainingConfig, OptimisationConfig
from spar_core.planning.facts import Facts, Judging, Rows, judging_work, within
from spar_core.training.steps import planned_steps

Kind = Literal["write", "train", "compute"]
PROBE: Final = "probe"


class Work(NamedTuple):
    """One stage's work. `kind`: a model writes, a model learns, or neither.

    `read` and `written` are tokens; for trainings `read` are those that go through the model, all epochs together, and
    `steps` its optimiser steps. `tables`: rows handed on.
    """

    kind: Kind
    rows: int
    tables: Rows
    requests: int = 0
    read: float = 0.0
    written: float = 0.0
    steps: int = 0


def work_of(stage: str, facts: Facts) -> Work | None:
    """The work of a stage by its name, which may end with a place (`trees-teacher`); None where nothing is known."""
    name, _, place = stage.partition("-")
    found = _STAGES.get(name)
    return None if found is None else found(facts._replace(config=_placed(facts.config, place)))


def _placed(config: RunConfig, place: str) -> RunConfig:
    """What a stage of a teacher's warm start reads instead of self-play's settings."""
    warm, method = config.warm_start, config.method
    if place in ("rules_actor", "rules_refiner"):
        responses = method.responses.model_copy(update={"per_prompt": warm.samples})
        return config.model_copy(update={"method": method.model_copy(update={"responses": responses})})
    if place in ("teacher", "base"):
        tries = warm.tries if place == "teacher" else 1
        search = method.search.one_rewrite().model_copy(update={"branch": tries, "node_budget": tries})
        responses = method.responses.model_copy(update={"per_prompt": tries})
        pairs = method.pairs.model_copy(update={"method": "spar"})
        placed = method.model_copy(update={"search": search, "responses": responses, "pairs": pairs})
        return config.model_copy(update={"method": placed})
    if place.startswith("warm_start_"):
        count = warm.actor_examples if place.endswith("actor") else warm.refiner_examples
        return config.model_copy(update={"prompts": config.prompts.model_copy(update={"per_iteration": count})})
    return config


def _prompts(facts: Facts) -> Work:
    wanted = facts.config.prompts.per_iteration
    kept = {"prompts": round(wanted * facts.assumed.kept_prompts)}
    if facts.config.prompts.source != "taxonomy":
        return Work("compute", wanted, kept)
    length = facts.assumed.instruction_tokens
    return Work("write", wanted, kept, wanted, wanted * 1.5 * length, wanted * length)


def _responses(facts: Facts) -> Work:
    prompts, each = facts.given["prompts"], facts.config.method.responses.per_prompt
    read, written = prompts * facts.assumed.instruction_tokens, prompts * each * facts.answer
    return Work("write", prompts, {"responses": prompts * each}, prompts, read, written)


def _probe(facts: Facts) -> Work:
    """An answer to each request, a vote on it and a rewrite of it."""
    asked, most = facts.config.probe.requests, facts.config.probe.max_tokens
    assumed = facts.assumed
    cut = assumed._replace(
        answer_tokens=min(assumed.answer_tokens, most),
        critique_tokens=min(assumed.critique_tokens, most),
        reflection_tokens=min(assumed.reflection_tokens, max(0.0, most - assumed.answer_tokens)),
    )
    each = facts._replace(assumed=cut)
    vote = judging_work(each, 1, each.questions)
    read = assumed.instruction_tokens + vote.read + each.to_judge + each.critique
    written = each.answer + vote.written + each.rewrite
    return Work("write", asked, {}, round(asked * (2 + vote.requests)), asked * read, asked * written)


def _judgements(facts: Facts) -> Work:
    answers, votes = facts.given["responses"], facts.votes_asked
    tables = {"judgements": round(answers * facts.assumed.decided), "votes": answers * votes}
    if not votes:
        return Work("compute", answers, tables)
    each = judging_work(facts, votes, facts.questions)
    return Work("write", answers, tables, round(answers * each.requests), answers * each.read, answers * each.written)


def _negatives(facts: Facts) -> Work:
    prompts, most = facts.given["prompts"], facts.config.method.pairs.max_negatives
    roots = round(prompts * facts.assumed.failing_prompts)
    return Work("compute", prompts, {"roots": roots if most is None else min(roots, most)})


def _tree(facts: Facts, judging: Judging) -> tuple[float, float, float, float]:
    """Nodes, requests, tokens read and tokens written of one search, by what judging a node takes."""
    search = facts.config.method.search_for_pairs() or facts.config.method.search
    nodes = min(facts.assumed.nodes_per_tree, search.node_budget)
    expansions = nodes / min(search.branch, search.node_budget)
    read = expansions * (facts.to_judge + facts.critique) + nodes * judging.read
    written = nodes * (facts.rewrite + judging.written)
    return nodes, expansions + nodes * judging.requests, read, written


def _trees(facts: Facts) -> Work:
    roots = facts.given["roots"]
    nodes, requests, read, written = _tree(facts, judging_work(facts, facts.votes_asked, facts.questions))
    tables = {"trees": roots, "tree_nodes": round(roots * (1 + nodes))}
    return Work("write", roots, tables, round(roots * requests), roots * read, roots * written)


def _pairs(facts: Facts) -> Work:
    most = facts.config.method.pairs.max_pairs
    rows = facts.given.get("trees", facts.given["prompts"])
    share = facts.assumed.pairs_per_tree if "trees" in facts.given else facts.assumed.failing_prompts
    made = round(rows * share)
    return Work("compute", rows, {"preference_pairs": made if most is None else min(made, most)})


def _refiner_data(facts: Facts) -> Work:
    quotas, given, assumed = facts.config.method.refiner_quotas(), facts.given, facts.assumed
    trees, judged = given.get("trees", 0), given["judgements"]
    made = min(quotas.refinements, round(trees * assumed.pairs_per_tree))
    made += min(quotas.tree_yes, round(trees * assumed.pairs_per_tree / 2)) + min(quotas.tree_no, trees)
    made += min(quotas.response_no + quotas.response_yes, round(judged / 2))
    replayed = made * quotas.replay_fraction / (1 - quotas.replay_fraction)
    return Work("compute", judged, {"refiner_examples": round(made + replayed)})


def _judge_pairs(facts: Facts) -> Work:
    prompts = facts.given["prompts"]
    return Work("compute", prompts, {"judge_pairs": round(prompts * facts.assumed.failing_prompts)})


def _rubric_scores(facts: Facts) -> Work:
    answers, votes = facts.given["responses"], facts.config.method.judging.votes
    tables = {"rubric_scores": answers, "rubric_votes": answers * votes}
    return Work("write", answers, tables, answers, answers * facts.to_judge, answers * votes * facts.critique)


def _meta_judgements(facts: Facts) -> Work:
    prompts = facts.given["prompts"]
    votes = prompts * facts.config.method.judging.votes
    read = votes * (facts.to_judge + 2 * facts.critique)
    return Work("write", prompts, {"meta_votes": votes}, votes, read, votes * facts.critique)


def _examples(role: Literal["actor", "refiner"]) -> Callable[[Facts], Work]:
    def work(facts: Facts) -> Work:
        warm = facts.config.warm_start
        count = warm.actor_examples if role == "actor" else warm.refiner_examples
        if warm.source in ("teacher", "rules"):  # a prompt gives at most one answer, one judgement and one refinement
            count = min(count, round(facts.given["prompts"] * (1 if role == "actor" else 2)))
        return Work("compute", count, {"refiner_examples": count})

    return work


def _roots(facts: Facts) -> Work:
    prompts = facts.given["prompts"]
    return Work("compute", prompts, {"roots": round(facts.given["judgements"] * facts.assumed.failing_prompts)})


def _eval_prompts(facts: Facts) -> Work:
    count = facts.config.evaluation.prompts
    return Work("compute", count, {"eval_prompts": count})


def _eval_actor(facts: Facts) -> Work:
    prompts, evaluation = facts.given["eval_prompts"], facts.config.evaluation
    answers = prompts * evaluation.samples
    written = answers * within(facts.assumed.answer_tokens, evaluation.actor.max_tokens)
    read = prompts * facts.assumed.instruction_tokens
    return Work("write", prompts, {"eval_responses": answers}, prompts, read, written)


def _eval_refiner(facts: Facts) -> Work:
    """By its votes, and as rules judge in self-play: whichever of the two it is measured by, or both."""
    items, judging = facts.config.evaluation.refiner_items, facts.config.method.judging
    searched = items * facts.assumed.failing_prompts
    parts: list[tuple[float, Judging]] = []
    if judging.asks_votes:
        each = judging_work(facts, judging.votes, facts.measuring_questions)
        parts += [(items, each), (searched, Judging(*_tree(facts, each)[1:]))]
    if judging.judges_by_rules:
        in_use = judging_work(facts, facts.votes_asked, facts.questions)
        parts.append((searched, Judging(*_tree(facts, in_use)[1:])))
    requests = sum(times * part.requests for times, part in parts)
    read = sum(times * part.read for times, part in parts)
    written = sum(times * part.written for times, part in parts)
    return Work("write", items, {}, round(requests), read, written)


def _eval_votes(facts: Facts) -> Work:
    items, votes = 2 * facts.config.evaluation.calibration_items, facts.config.method.judging.votes
    each = judging_work(facts, votes, facts.measuring_questions)
    return Work("write", items, {}, round(items * each.requests), items * each.read, items * each.written)


def _eval_scores(facts: Facts) -> Work:
    return Work("compute", facts.config.evaluation.prompts, {})


def _training(name: str, role: Literal["actor", "refiner"]) -> Callable[[Facts], Work]:
    def work(facts: Facts) -> Work:
        training = facts.config.training
        config: OptimisationConfig = getattr(training, name)
        table = "preference_pairs" if role == "actor" and name == "actor" else "refiner_examples"
        if "judge_pairs" in facts.given:
            config, table = training.judge_training(), "judge_pairs"
        rows = facts.given[table]
        steps = planned_steps(config, rows)
        through = steps * config.batch_size if config.max_steps is not None else rows * config.epochs
        return Work("train", rows, {}, read=through * _row_tokens(facts, config, role), steps=steps)

    return work


def _reinforced(facts: Facts) -> Work:
    """Answers are written and learned from, a batch of them per step."""
    config, asked = facts.config.training.grpo, facts.given["prompts"]
    each = within(facts.assumed.answer_tokens, config.max_tokens)
    steps, tokens = planned_steps(config, asked), facts.config.method.pairs.tokens
    if isinstance(tokens, int):
        steps = math.ceil(tokens / (config.batch_size * each))
    answers = steps * config.batch_size
    through = answers * min(facts.assumed.instruction_tokens + each, config.max_length)
    return Work("train", asked, {}, read=through, written=answers * each, steps=steps)


def _row_tokens(facts: Facts, config: OptimisationConfig, role: str) -> float:
    """Tokens of one row: both texts of a pair, an answer, a judgement, or a refinement."""
    asked = facts.assumed.instruction_tokens + facts.answer
    if isinstance(config, DpoTrainingConfig):
        each = asked if role == "actor" else facts.to_judge + facts.critique
        return 2 * min(each, config.max_length)
    if role == "actor":
        return min(asked, config.max_length)
    return min(facts.to_judge + facts.critique + facts.rewrite / 2, config.max_length)


TRAININGS: Final = {
    "warm_start_actor": "warm_start_actor",
    "warm_start_refiner": "warm_start_refiner",
    "train_actor": "actor",
    "train_refiner": "refiner",
    "reinforce_actor": "grpo",
}
"""Stages that train, and which part of `training` says how."""

_STAGES: Final[dict[str, Callable[[Facts], Work]]] = {
    PROBE: _probe,
    "prompts": _prompts,
    "responses": _responses,
    "judgements": _judgements,
    "negatives": _negatives,
    "trees": _trees,
    "pairs": _pairs,
    "refiner_data": _refiner_data,
    "judge_pairs": _judge_pairs,
    "rubric_scores": _rubric_scores,
    "meta_judgements": _meta_judgements,
    "warm_start_examples_actor": _examples("actor"),
    "warm_start_examples_refiner": _examples("refiner"),
    "rule_examples_actor": _examples("actor"),
    "rule_examples_refiner": _examples("refiner"),
    "warm_start_roots": _roots,
    "warm_start_actor": _training("warm_start_actor", "actor"),
    "warm_start_refiner": _training("warm_start_refiner", "refiner"),
    "train_actor": _training("actor", "actor"),
    "train_refiner": _training("refiner", "refiner"),
    "reinforce_actor": _reinforced,
    "eval_prompts": _eval_prompts,
    "eval_actor": _eval_actor,
    "eval_refiner": _eval_refiner,
    "eval_votes": _eval_votes,
    "eval_scores": _eval_scores,
}
