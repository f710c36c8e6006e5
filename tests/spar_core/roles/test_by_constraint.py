"""`judge: per_constraint`: the task and each constraint are asked about on their own, and a vote is all of it."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace

import pyarrow as pa
import pytest

from spar_core.config.method import JudgingConfig, RefinementConfig, RefinerDataConfig, SearchConfig
from spar_core.data.refiner_examples import IterationRecords, build_refiner_data
from spar_core.engines.base import Completion, GenerationRequest
from spar_core.engines.scripted import Answer, ScriptedEngine
from spar_core.errors import ConfigError
from spar_core.evaluation.truth import anchor_of, constraints_in_words, sentence
from spar_core.prompts import PromptLibrary
from spar_core.records import SOFT, Constraint, Message, Prompt, Response, Root, Verdict, Vote
from spar_core.roles import JudgementOutcome, Refiner
from spar_core.roles.requests import TASK
from spar_core.search import SearchResult, run_trees
from storage.schemas import from_batch, row_identity, to_batch

LIBRARY = PromptLibrary.load("per_constraint")
FORMAL, NO_COMMA = Constraint.create(SOFT, text="Write formally."), Constraint.create("punctuation:no_comma")
PROMPT = Prompt.create("Thank the host, formally, without commas.", (FORMAL, NO_COMMA))
GOOD, BAD = "I thank you Sir.", "Thanks, mate."
YES, NO, UNREAD = "Final verdict: YES", "Final verdict: NO", "I cannot say."
COMMA_WORDS = sentence(NO_COMMA)


def asked_about(request: GenerationRequest) -> str:
    """The constraint of a request, `task`, or `whole`."""
    text = request.messages[0].content
    if "<requirement>" in text:
        return text.split("<requirement>\n")[1].split("\n")[0]
    return "task" if "carries out the task" in text else "whole"


def judged(
    says: Callable[[str, int], Answer], prompt: Prompt = PROMPT, text: str = GOOD, **judging: object
) -> tuple[JudgementOutcome, list[str]]:
    """The outcome, and what was asked about, request by request."""
    engine = ScriptedEngine(lambda request, index: says(asked_about(request), index))
    config = JudgingConfig.model_validate({"votes": 3, **judging})
    anchor = anchor_of(config, [prompt])
    listed = constraints_in_words([prompt])
    refiner = Refiner(engine, LIBRARY, config, RefinementConfig(), anchor, constraints=listed)
    outcome = asyncio.run(refiner.judge("s", prompt.text, text, 1))
    return outcome, [asked_about(request) for request in engine.requests]


def by_votes(**lists: Iterable[str]) -> Callable[[str, int], Answer]:
    """What is said of the task, of formality and of commas, vote by vote; YES of what is left out."""
    of = {"task": "task", "Write formally.": "formal", COMMA_WORDS: "comma"}
    said = {name: list(texts) for name, texts in lists.items()}
    return lambda asked, index: said[of[asked]][index] if of[asked] in said else YES


def test_a_vote_says_yes_where_task_and_all_constraints_are_met() -> None:
    outcome, asked = judged(by_votes(formal=[YES, NO, YES], comma=[YES, YES, f"It has 1 comma.\n{NO}"]))
    assert asked == ["task", "Write formally.", COMMA_WORDS]
    assert [vote.verdict for vote in outcome.votes] == [Verdict.YES, Verdict.NO, Verdict.NO]
    assert [vote.vote_index for vote in outcome.votes] == [0, 1, 2]
    last = outcome.votes[2]
    assert [(part.constraint, part.verdict) for part in last.by_constraint] == [
        (TASK, Verdict.YES),
        ("Write formally.", Verdict.YES),
        (COMMA_WORDS, Verdict.NO),
    ]
    assert last.critique == f"Not met: {COMMA_WORDS}\nIt has 1 comma.\n\n{NO}"
    assert last.seeds == {part.seed for part in last.by_constraint}
    assert len(last.seeds) == 3
    found = outcome.judgement
    assert found is not None
    assert (found.verdict, found.value, found.yes_votes, found.no_votes) == (Verdict.NO, 1 / 3, 1, 2)
    assert found.by_constraint == outcome.votes[1].by_constraint  # the first vote that agrees


def test_what_cannot_be_read_leaves_a_vote_unread_unless_something_is_broken() -> None:
    outcome, _ = judged(by_votes(task=[UNREAD, UNREAD, YES], formal=[NO, YES, YES]), max_reasks=0, quorum=3)
    assert [vote.verdict for vote in outcome.votes] == [Verdict.NO, Verdict.UNPARSEABLE, Verdict.YES]
    assert (outcome.judgement, outcome.failure) == (None, "quorum")
    assert UNREAD in outcome.votes[1].critique


def test_a_missing_quorum_asks_all_of_it_again() -> None:
    calls: list[str] = []

    def says(asked: str, index: int) -> Answer:
        calls.append(asked)
        return UNREAD if len(calls) <= 3 else YES

    outcome, asked = judged(says, quorum=1, votes=1)
    assert asked == 2 * ["task", "Write formally.", COMMA_WORDS]
    assert [vote.verdict for vote in outcome.votes] == [Verdict.UNPARSEABLE, Verdict.YES]
    assert [vote.vote_index for vote in outcome.votes] == [0, 1]
    assert outcome.votes[0].seeds.isdisjoint(outcome.votes[1].seeds)
    assert outcome.judgement is not None
    assert outcome.judgement.value == 1.0


def test_a_checkers_constraints_are_not_asked_where_rules_come_first() -> None:
    outcome, asked = judged(by_votes(), anchor="rules_then_votes")
    assert asked == ["task", "Write formally."]
    assert outcome.judgement is not None
    assert (outcome.judgement.verdict, outcome.judgement.anchored) == (Verdict.YES, "no")
    outcome, asked = judged(by_votes(), text=BAD, anchor="rules_then_votes")
    assert (asked, outcome.votes) == ([], ())
    only_rules = Prompt.create("No commas.", (NO_COMMA,))
    assert judged(by_votes(), only_rules, anchor="rules_then_votes")[1] == ["task"]
    assert judged(by_votes(), anchor="verifier")[1] == ["task", "Write formally.", COMMA_WORDS]


def test_a_prompt_without_constraints_is_judged_as_a_whole() -> None:
    outcome, asked = judged(lambda about, index: YES, Prompt.create("Thank the host."))
    assert asked == ["whole"]
    assert all(vote.by_constraint == () for vote in outcome.votes)


@pytest.mark.parametrize(("soft", "value"), [(False, 1.0), (True, 0.6)])
def test_verdicts_are_continuations_of_each_check_and_weigh_as_the_least_likely(soft: bool, value: float) -> None:
    likely = {"task": 0.9, "Write formally.": 0.6, COMMA_WORDS: 0.8}

    def says(request: GenerationRequest, index: int) -> Answer:
        if not request.choices:
            return "A look at it."
        share = likely[asked_about(request)]
        return Completion(" YES", "stop", 1, shares=(share, 1 - share))

    engine = ScriptedEngine(says)
    judging = {"votes": 2, "quorum": 1, "verdict": "continuation", "soft_votes": soft}
    listed = constraints_in_words([PROMPT])
    config = JudgingConfig.model_validate(judging)
    refiner = Refiner(engine, LIBRARY, config, RefinementConfig(), constraints=listed)
    outcome = asyncio.run(refiner.judge("s", PROMPT.text, GOOD, 1))
    assert len(engine.requests) == 3 + 3 * 2  # a check of each, then a verdict for every vote on it
    assert [vote.yes_probability for vote in outcome.votes] == [0.6, 0.6]
    assert outcome.judgement is not None
    assert outcome.judgement.value == pytest.approx(value)


def test_a_second_voter_is_asked_all_of_it_too() -> None:
    first, second = (ScriptedEngine(lambda request, index, say=say: say) for say in (YES, NO))
    config = JudgingConfig(votes=5, second_voter="refiner/1")
    listed = constraints_in_words([PROMPT])
    refiner = Refiner(first, LIBRARY, config, RefinementConfig(), second_voter=second, constraints=listed)
    outcome = asyncio.run(refiner.judge("s", PROMPT.text, GOOD, 1))
    assert [(vote.voter, vote.verdict) for vote in outcome.votes] == 3 * [(1, Verdict.YES)] + 2 * [(2, Verdict.NO)]
    assert [vote.vote_index for vote in outcome.votes] == [0, 1, 2, 3, 4]
    assert all(len(vote.by_constraint) == 3 for vote in outcome.votes)


def test_further_wordings_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"set judging\.wordings=1"):
        Refiner(ScriptedEngine(lambda request, index: YES), LIBRARY, JudgingConfig(wordings=2), RefinementConfig())


def searched() -> SearchResult:
    """A tree whose first rewrite keeps one comma in two votes of three, and whose second keeps none."""

    def says(request: GenerationRequest, index: int) -> Answer:
        text = request.messages[-1].content
        if request.n == 2 and "<requirement>" not in text and "carries out" not in text:
            return f"<revised_answer>{('Thank you, Sir.', GOOD)[index]}</revised_answer>"
        if asked_about(request) == COMMA_WORDS and "Thank you, Sir." in text and index < 2:
            return f"One comma.\n{NO}"
        return YES

    refiner = Refiner(
        ScriptedEngine(says),
        LIBRARY,
        JudgingConfig(votes=3),
        RefinementConfig(),
        constraints=constraints_in_words([PROMPT]),
    )
    root = Root(PROMPT.prompt_id, PROMPT.text, "r", BAD, "it has a comma", 0.0)

    async def search() -> SearchResult:
        return await anext(run_trees([root], refiner, SearchConfig(branch=2), 0))

    return asyncio.run(search())


def test_a_nodes_value_is_the_share_of_votes_in_which_all_is_met() -> None:
    _, comma, good = searched().nodes
    assert (comma.value, comma.yes_votes, comma.no_votes) == (pytest.approx(1 / 3), 1, 2)
    assert comma.critique == f"Not met: {COMMA_WORDS}\nOne comma.\n\n{NO}"
    assert [part.verdict for part in comma.by_constraint] == [Verdict.YES, Verdict.YES, Verdict.NO]
    assert (good.value, good.accepted) == (1.0, True)


def test_the_refiner_learns_the_checks_it_is_asked_for() -> None:
    result = searched()
    asked: list[tuple[Message, ...]] = []

    def says(request: GenerationRequest, index: int) -> Answer:
        asked.append(request.messages)
        return f"Too casual.\n{NO}" if asked_about(request) == "Write formally." and index else YES

    engine = ScriptedEngine(says)
    listed = constraints_in_words([PROMPT])
    refiner = Refiner(engine, LIBRARY, JudgingConfig(votes=3), RefinementConfig(), constraints=listed)
    response = Response("r", PROMPT.prompt_id, 0, BAD, "stop", 1, 1, "m", 0)
    judgement = asyncio.run(refiner.judge("r", PROMPT.text, BAD, 1)).judgement
    assert judgement is not None
    by_rule = replace(judgement, response_id="ruled", anchored="rule", by_constraint=())
    records = IterationRecords(
        [PROMPT], [response, replace(response, response_id="ruled")], [judgement, by_rule], [result.tree], result.nodes
    )
    made = build_refiner_data([records], LIBRARY, RefinerDataConfig(), run_seed=0)
    said = {example.source: example.messages for example in made.examples}
    assert said["response_no"][:-1] in asked  # byte for byte
    assert said["response_no"][-1].content == f"Too casual.\n{NO}"
    assert "<requirement>\n" + COMMA_WORDS in said["tree_no"][0].content
    assert [drop.reason for drop in made.drops if drop.record_id == "ruled"] == ["critique_by_rule"]


def test_votes_come_back_from_a_table_as_they_were() -> None:
    votes = list(judged(by_votes(comma=[NO, YES, UNREAD]))[0].votes)
    back = list(from_batch("votes", to_batch("votes", votes)))
    assert back == votes
    assert all(type(part.verdict) is Verdict for part in back[0].by_constraint)
    batch = to_batch("votes", votes)
    column = batch.schema.get_field_index("by_constraint")
    without = batch.set_column(column, "by_constraint", pa.nulls(len(votes), batch.schema.field(column).type))
    assert {vote.by_constraint for vote in from_batch("votes", without)} == {()}  # as a query gives old files
    plain = Vote("s", 0, Verdict.YES, "", "stop", 1)
    assert row_identity("votes", plain) == row_identity("votes", replace(plain, by_constraint=()))
    assert len(row_identity("votes", plain)) == len(row_identity("votes", votes[0])) - 1
