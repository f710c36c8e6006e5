"""The checker behind `judging.anchor: verifier`."""

from spar_core.evaluation.truth import is_right, rule_verifier
from spar_core.records import Constraint, Prompt

NO_COMMA = Constraint("punctuation:no_comma")
KEYWORD = Constraint.create("keywords:existence", keywords=["harbor"])
UNKNOWN = Constraint("house:style")
CAPITALS = Constraint("change_case:english_capital")
GERMAN = "DER HUND UND DIE KATZE SCHLAFEN HEUTE IN DER KÜCHE WEIL ES DRAUSSEN REGNET UND KALT IST."


def test_names_what_fails_and_knows_whether_all_was_checked() -> None:
    verify = rule_verifier([Prompt.create("both", (NO_COMMA, KEYWORD)), Prompt.create("partly", (NO_COMMA, UNKNOWN))])
    broken = verify("both", "A pier, a boat.")
    assert broken is not None
    assert len(broken.failed) == 2
    assert "harbor" in broken.failed[1]
    assert broken == verify("both", "A boat, a pier.")  # the same wording every time
    assert verify("both", "A harbor.") == ((), True, ())
    assert verify("partly", "A harbor.") == ((), False, ("house:style",))  # named, for a vote on it
    partly = verify("partly", "A, b")
    assert partly is not None
    assert (len(partly.failed), partly.verdict) == (1, "NO")


def test_knows_nothing_of_prompts_without_constraints() -> None:
    verify = rule_verifier([Prompt.create("free"), Prompt.create("odd", (UNKNOWN,))])
    assert [verify(text, "answer") for text in ("free", "odd", "never seen")] == [None, None, None]


def test_in_the_starter_world_no_language_is_detected() -> None:
    user, starter = Prompt.create("a", (CAPITALS,)), Prompt.create("b", (CAPITALS,), source="starter/iid")
    verify = rule_verifier([user, starter])
    assert (is_right(user, GERMAN), is_right(starter, GERMAN)) == (False, True)
    verdicts = [verify(text, GERMAN) for text in ("a", "b")]
    assert [checked.verdict for checked in verdicts if checked is not None] == ["NO", "YES"]
