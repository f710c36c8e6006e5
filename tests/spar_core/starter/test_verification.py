import random

import pytest

from spar_core.records import Constraint, Prompt
from spar_core.starter import verification, world

PROMPT = Prompt.create(
    "Name three birds. Leave out the word eagle. Wrap it in quotes. End with the words good day.",
    (
        Constraint.create(world.ITEMS, topic="birds", count=3),
        Constraint.create(world.FORBIDDEN, forbidden_words=["eagle"]),
        Constraint.create(world.QUOTES),
        Constraint.create(world.END, end_phrase="good day"),
    ),
)
ANSWER = '"We like robin, eagle, owl. Good night"'
KINDS = [constraint.kind for constraint in PROMPT.constraints]


def said(*met: bool) -> verification.Verification:
    return verification.Verification(tuple(KINDS), ("Items:", "Avoid:", "Quotes:", "Ending:"), met)


def test_faultless_verification_names_what_is_broken() -> None:
    assert verification.true_verification(PROMPT, ANSWER).judgement() == (
        "Items robin eagle owl three: met. Avoid eagle eagle: missed. Quotes: met. "
        "Ending good day, good night: missed.\n"
        "Final verdict: NO"
    )


def test_scoring_gives_a_point_for_each_constraint_met() -> None:
    assert verification.true_verification(PROMPT, ANSWER).scoring().splitlines()[-1] == "Score: 2 of 4"


def test_items_of_each_of_two_answers_are_counted() -> None:
    text = "We like robin, owl, crow.\n******\nWe like owl, crow."
    assert verification.true_verification(PROMPT, text).statements[0] == "Items robin owl crow three and owl crow two:"


@pytest.mark.parametrize(
    ("kind", "arguments", "text", "statement"),
    [
        (world.KEYWORD, {"keywords": ["cradle"]}, "We like red. Also Candle.", "Word cradle candle:"),
        (world.KEYWORD, {"keywords": ["cradle"]}, "We like red. ALSO CRADLE.", "Word cradle cradle:"),
        (world.KEYWORD, {"keywords": ["cradle"]}, "We like red.", "Word cradle none:"),
        (world.TWICE, {"keyword": "kite", "frequency": 2, "relation": "at least"}, "More kite.", "Twice kite kite:"),
        (world.FORBIDDEN, {"forbidden_words": ["red"]}, "We like blue.", "Avoid red none:"),
        (world.FIRST, {"first_word": "today", "nth_paragraph": 1, "num_paragraphs": 1}, "", "First today none:"),
        (world.END, {"end_phrase": "have fun"}, '"We like red."', "Ending have fun, none:"),
        (world.END, {"end_phrase": "have fun"}, '"We like red. Have fun"', "Ending have fun, have fun:"),
        (world.UPPER, {}, "WE Like RED.", "Capital letters Like:"),
        (world.LOWER, {}, "we like red.", "Small letters none:"),
    ],
)
def test_a_statement_tells_what_is_asked_and_what_stands_there(kind, arguments, text, statement) -> None:
    prompt = Prompt.create("Name one color.", (Constraint.create(kind, **arguments),))
    assert verification.true_verification(prompt, text).statements == (statement,)


def test_chances_of_zero_and_one_decide_what_is_said() -> None:
    rng = random.Random(0)
    blind = verification.verify(PROMPT, ANSWER, dict.fromkeys(KINDS, 1.0), 0.0, rng)
    assert blind.met == (True, True, True, True)
    assert blind.passes
    alarmed = verification.verify(PROMPT, ANSWER, dict.fromkeys(KINDS, 0.0), 1.0, rng)
    assert alarmed.missed == tuple(KINDS)


def test_comparison_prefers_the_verification_with_more_true_statements() -> None:
    belief = said(True, False, True, False)
    assert verification.comparison(said(True, True, True, False), belief, belief) == (
        "Avoid: missed.\nBetter judgement: B"
    )
    two_wrong = said(False, True, True, False)
    assert verification.comparison(said(True, True, True, False), two_wrong, belief).endswith("judgement: A")


def test_comparison_of_equally_true_ones_goes_by_the_verdict_then_takes_the_first() -> None:
    belief = said(True, True, True, True)
    one, other = said(False, True, True, True), said(True, False, True, True)
    assert verification.comparison(one, other, belief).endswith("Better judgement: A")
    belief = said(True, True, False, False)
    # Two statements apart, one right each: the first passes, the second does not, and neither does the belief.
    assert verification.comparison(said(True, True, True, True), said(False, True, False, True), belief).endswith("B")
