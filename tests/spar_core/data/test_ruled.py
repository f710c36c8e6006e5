"""What rules teach: judgements that are true, repairs that hold, and that every answer is accounted for."""

from collections import Counter
from random import Random

import pytest

from spar_core.config.pairs import PairsConfig
from spar_core.constraints import CheckTimeoutError, render
from spar_core.data.rule_words import PlainWords, looked_at
from spar_core.data.ruled import repaired_pairs, ruled_answers, ruled_refiner
from spar_core.errors import DataError
from spar_core.evaluation.truth import is_right
from spar_core.prompts import PromptLibrary
from spar_core.prompts.format import VerdictForm
from spar_core.records import Constraint, Prompt, Response
from spar_core.roles import parse_rewrite
from spar_core.roles.verdict import parse_verdict
from spar_core.starter.rule_words import StarterWords
from spar_core.starter.world import generate_prompts

NO_COMMA = Constraint.create("punctuation:no_comma")
QUOTED = Constraint.create("startend:quotation")
ASKED = render(NO_COMMA, Random(5))
UNKNOWN = Constraint.create("nobody:knows")
PARAGRAPHS = Constraint.create("length_constraints:number_paragraphs", num_paragraphs=5)


def prompt(number, *constraints):
    return Prompt.create(f"Task {number}. {ASKED}", constraints, source="verifiable/iid")


def response(to, text, index=0, finish="stop"):
    return Response(f"{to.prompt_id}-{index}", to.prompt_id, index, text, finish, 1, 1, "m", 0)


def failing(to, index=0):
    return response(to, f"One, two, three words of answer {index}.", index)


def kept(to, index=0):
    return response(to, f"Words of answer {index}.", index)


def refiner(prompts, responses, count, library="plain", words=None):
    return ruled_refiner(prompts, responses, PromptLibrary.load(library), words or PlainWords(), count, run_seed=1)


def test_a_judgement_says_of_every_rule_what_the_answer_has_and_closes_with_the_truth():
    asked = prompt(1, NO_COMMA, QUOTED)
    said = PlainWords().judgement(asked, "One, two.", VerdictForm(labels=("Done",), yes=("Good",), no=("Bad",)))
    first, second, last = said.splitlines()
    assert first == f"- {ASKED} Found: 1 comma; none are allowed. Broken."
    assert second.endswith("Broken.")
    assert last == "Done: Bad"
    assert PlainWords().judgement(asked, '"One two."', VerdictForm()).splitlines()[0] == f"- {ASKED} Kept."


def test_a_rule_is_named_as_the_prompt_words_it():
    wordings = {render(NO_COMMA, Random(seed)) for seed in range(20)}
    assert len(wordings) > 1
    for wording in wordings:
        assert looked_at(Prompt.create(f"Tell me. {wording}", (NO_COMMA,)), "a")[0].rule == wording
    assert looked_at(Prompt.create("Tell me. Commas? No!", (NO_COMMA,)), "a")[0].rule in wordings


def test_a_rule_that_ends_in_a_quotation_gets_no_second_full_stop():
    ending = Constraint.create("startend:end_checker", end_phrase="That is all.")
    words = [looked_at(Prompt.create(render(ending, Random(seed)), (ending,)), "a")[0].rule for seed in range(20)]
    assert any('."' in said for said in words)
    assert not any(said.endswith('".') for said in words)


def test_a_rewrite_is_asked_for_with_either_form_of_critique():
    asked = prompt(1, NO_COMMA)
    said = {PlainWords().critique(asked, "One, two.", VerdictForm(), Random(seed)) for seed in range(20)}
    assert len(said) == 2
    assert all("1 comma; none are allowed" in one and parse_verdict(one, "stop") == "NO" for one in said)


@pytest.mark.parametrize("library", ["plain", "default", "published"])
def test_the_refiner_learns_true_verdicts_balanced_and_rewrites_that_keep_every_rule(library):
    prompts = [prompt(number, NO_COMMA) for number in range(8)]
    answers = [make(one) for number, one in enumerate(prompts) for make in [kept if number == 7 else failing]]
    made, drops = refiner(prompts, answers, 12, library)
    form, by_text = PromptLibrary.load(library).format, {one.prompt_id: one for one in prompts}
    kinds = Counter((example.kind, example.source) for example in made)
    assert kinds == {
        ("refinement", "rules/mended"): 6,
        ("judgement", "rules/own"): 4,  # three NO, the one answer that keeps the rule
        ("judgement", "rules/mended"): 2,  # YES of which there were too few
    }
    verdicts = Counter()
    for example in made:
        asked, said = example.messages[0].content, example.messages[-1].content
        assert by_text[example.prompt_id].text in asked
        assert example.text_id == f"{example.prompt_id}-0"
        if example.kind == "judgement":
            verdicts[parse_verdict(said, "stop", form.verdict)] += 1
        else:
            rewrite = parse_rewrite(said, "stop", markers=form.markers)
            assert rewrite.failure is None
            assert is_right(by_text[example.prompt_id], rewrite.response)
            assert any("; none are allowed" in message.content for message in example.messages[:-1])
    assert verdicts == {"NO": 3, "YES": 3}
    rows = 7 * 3 + 1
    assert len(made) + len(drops) == rows
    assert {drop.reason for drop in drops} == {"over_quota"}


def test_one_that_is_never_asked_to_judge_learns_rewrites_alone():
    prompts = [prompt(number, NO_COMMA) for number in range(8)]
    answers = [make(one) for number, one in enumerate(prompts) for make in [kept if number == 7 else failing]]
    library = PromptLibrary.load("plain")
    made, drops = ruled_refiner(prompts, answers, library, PlainWords(), 5, run_seed=1, judges=False)
    assert [example.kind for example in made] == ["refinement"] * 5
    # As a search asks: what is broken, by the rule's own words, and no line that a judge would write.
    for example in made:
        asked = example.messages[-2].content
        assert "; none are allowed" in asked
        assert "Kept." not in asked
        assert "Broken." not in asked
    assert Counter(drop.reason for drop in drops) == {"over_quota": 2, "nothing_to_mend": 1}


def test_one_example_of_each_prompt_comes_before_a_second_of_any():
    prompts = [prompt(number, NO_COMMA) for number in range(3)]
    answers = [failing(prompts[0], index) for index in range(9)] + [failing(prompts[1]), failing(prompts[2])]
    made = [one for one in refiner(prompts, answers, 6).examples if one.kind == "refinement"]
    assert {one.prompt_id for one in made} == {one.prompt_id for one in prompts}


def test_what_teaches_nothing_is_a_drop_with_its_reason():
    prompts = [prompt(0, NO_COMMA), prompt(1), prompt(2, UNKNOWN), prompt(3, PARAGRAPHS)]
    answers = [
        response(prompts[0], "One, two", 0, "length"),
        response(prompts[0], " ", 1),
        response(prompts[1], "One, two."),
        response(prompts[2], "One, two."),
        response(prompts[3], "Word"),
    ]
    made = refiner(prompts, answers, 20)
    reasons = Counter(drop.reason for drop in made.drops)
    assert reasons["truncated"] == reasons["empty_answer"] == reasons["no_rules"] == reasons["unknown_rule"] == 1
    assert {(d.reason, d.detail) for d in made.drops} >= {
        ("unknown_rule", "nobody:knows"),
        ("unrepaired", "length_constraints:number_paragraphs"),
    }
    assert made.examples == []  # a NO without a YES beside it would teach that everything fails


def test_the_actor_learns_its_own_answer_where_one_keeps_all_else_a_mended_one():
    prompts = [prompt(number, NO_COMMA) for number in range(3)]
    answers = [
        *(failing(prompts[0], 0), kept(prompts[0], 1), kept(prompts[0], 2)),
        *(failing(prompts[1], 0), failing(prompts[1], 1)),
        response(prompts[2], "One, two", 0, "length"),
    ]
    made, drops = ruled_answers(prompts, answers, PlainWords(), run_seed=1)
    assert [(one.source, one.text_id) for one in made] == [
        ("rules/own", answers[1].response_id),
        ("rules/mended", answers[3].response_id),
    ]
    assert all(is_right(prompts[index], one.messages[-1].content) for index, one in enumerate(made))
    assert Counter(drop.reason for drop in drops) == {"spare_answer": 3, "truncated": 1}
    assert len(made) + len(drops) == len(answers)


def test_a_pair_is_a_failing_answer_and_its_repair():
    prompts = [prompt(number, NO_COMMA) for number in range(3)] + [prompt(3), prompt(4, NO_COMMA)]
    answers = [
        *(kept(prompts[0], 0), failing(prompts[0], 1), failing(prompts[0], 2)),
        kept(prompts[1]),
        response(prompts[2], "One, two", 0, "length"),
        response(prompts[3], "One, two"),
    ]
    made, drops = repaired_pairs(prompts, answers, PlainWords(), PairsConfig(), run_seed=1)
    assert len(made) == 1
    pair = made[0]
    assert pair.rejected_id in {answers[1].response_id, answers[2].response_id}
    assert (pair.chosen_id, pair.value) == (f"{pair.rejected_id}/mended", 1.0)
    assert is_right(prompts[0], pair.chosen)
    assert not is_right(prompts[0], pair.rejected)
    assert [drop.reason for drop in drops] == ["no_failing_response", "no_response", "no_rules", "no_response"]


def test_the_starters_rules_speak_the_starters_words():
    asked = generate_prompts(1, 3, "train")[0]
    said = StarterWords().judgement(asked, "nothing", VerdictForm())
    assert said.endswith("Final verdict: NO")
    assert StarterWords().critique(asked, "nothing", VerdictForm(), Random(0)) == said
    assert StarterWords().reflection(asked, "nothing") == ""


def test_the_same_answers_in_another_order_teach_the_same():
    prompts = [prompt(number, NO_COMMA) for number in range(6)]
    answers = [failing(one, index) for one in prompts for index in range(2)]
    first, again = refiner(prompts, answers, 8), refiner(prompts, answers[::-1], 8)
    assert first.examples == again.examples


def test_an_answer_without_its_prompt_is_an_error():
    with pytest.raises(DataError, match="missing from the input"):
        ruled_answers([], [failing(prompt(1, NO_COMMA))], PlainWords(), run_seed=1)


def test_a_check_that_runs_out_of_time_costs_its_answer_alone():
    class Slow(PlainWords):
        def judgement(self, asked, text, form):
            if "answer 0" in text:
                raise CheckTimeoutError("too long")
            return super().judgement(asked, text, form)

    prompts = [prompt(number, NO_COMMA) for number in range(2)]
    answers = [failing(prompts[0], 0), failing(prompts[1], 1)]
    made, drops = refiner(prompts, answers, 4, words=Slow())
    assert {example.text_id for example in made} == {answers[1].response_id}
    assert ("check_timed_out", answers[0].response_id) in {(drop.reason, drop.record_id) for drop in drops}
