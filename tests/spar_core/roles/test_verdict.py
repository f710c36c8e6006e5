import pytest
from hypothesis import given
from hypothesis import strategies as st

from spar_core.records import Verdict
from spar_core.roles.verdict import parse_verdict

YES, NO, NONE = Verdict.YES, Verdict.NO, Verdict.UNPARSEABLE

TABLE = [
    # labels, case, markup, punctuation, quotes
    ("Final verdict: YES", YES),
    ("FINAL VERDICT:NO", NO),
    ("checked all.\n\n**Final Verdict:** Yes.", YES),
    ("**Final verdict: NO**", NO),
    ("### Final Verdict: `no`", NO),
    ("> *Final verdict*: **yes**!", YES),
    ("- Final judgement: No", NO),
    ("Final judgment - no", NO),
    ("Judgment = YES", YES),
    ("Verdict: 'NO'.", NO),
    ("Verdict \u2014 \u201cYES\u201d", YES),
    ("Final verdict\uff1a\uff39\uff25\uff33", YES),  # full-width forms
    ("Final verdict: [[NO]]", NO),
    ("Final verdict: $\\boxed{\\text{YES}}$", YES),
    ("<b>Final verdict:</b> NO", NO),
    ("Final verdict: YES</s>", YES),
    ("Final verdict: NO<|eot_id|>", NO),
    ("| Final verdict | NO |", NO),
    ("Final verdict: NO \u274c", NO),
    ("3. Final verdict: NO", NO),
    ("Therefore, the final verdict is NO.", NO),
    ("So my final verdict is: YES", YES),
    ("Overall judgement: YES", YES),
    # the label says whose verdict it is, or lacks its colon
    ("Final verdict for the response: NO", NO),
    ("**Final Verdict on this answer:** YES", YES),
    ("Final verdict of the whole check is NO.", NO),
    ("FINAL VERDICT NO", NO),
    ("**Final verdict** YES.", YES),
    ("Final verdict no longer holds", NONE),
    ("Final verdict for requirement 2: maybe", NONE),
    # other words for it, behind a final label alone
    ("Final verdict: Fail", NO),
    ("Final verdict: FAILED.", NO),
    ("Final verdict: NOT MET", NO),
    ("Final verdict: Not satisfied, it has a comma", NO),
    ("Final verdict: **Pass**", YES),
    ("Final verdict: Met", YES),
    ("Final verdict: Met 3 of 5", NONE),
    ("Final verdict: Met, except for the comma", NONE),
    ("Final verdict: Pass/Fail", NONE),
    ("Final verdict: (Met or Not met)", NONE),
    ("Verdict: Fail", NONE),
    # reasons after the verdict
    ("Final verdict: NO, because the answer has 4 items.", NO),
    ("Final verdict: No - a comma is used", NO),
    ("Final verdict: YES, no issues found", YES),
    ("Final verdict: YES all requirements are met", YES),
    # the label alone, the verdict on the next line
    ("## Final verdict\n\n**No**", NO),
    ("Final verdict:\nYES.", YES),
    ("Final verdict (Yes or No):\nNo", NO),
    ("Final verdict:\nNote the comma.", NONE),
    # the last line counts
    ("Final verdict: YES\nWait, there is a comma.\nFinal verdict: NO", NO),
    ("1. Verdict: NO\n2. Verdict: YES\nFinal verdict: YES", YES),
    ("Final verdict: NO\nRemember to end with: Final verdict: YES", NO),
    ("Final verdict: YES\nFinal verdict: undecided", NONE),
    ("Final verdict: NO\nVerdict: the response fails", NO),
    # echoes are not verdicts
    ("Final verdict: (Yes or No)", NONE),
    ("Final verdict: YES/NO", NONE),
    ("Final verdict: yes or no", NONE),
    ("Final verdict: YES | NO", NONE),
    ('Final verdict: "YES" or "NO"', NONE),
    ("Final verdict: YES or Final verdict: NO", NONE),
    ("Final verdict (YES/NO): NO", NO),
    ("Final verdict: NO\nFinal verdict: (Yes or No)", NO),
    ("Final verdict: YES\n(Yes or No)", YES),
    # words that only begin like a verdict, or say something else
    ("Final verdict: Note that it fails", NONE),
    ("Final verdict: None", NONE),
    ("Final verdict: Nothing is wrong", NONE),
    ("Final verdict: yesterday", NONE),
    ("Final verdict: No issues found", NONE),
    ("Final verdict: Yes and no", NONE),
    ("Final verdict: maybe", NONE),
    ("The verdict is clear: no commas are used.", NONE),
    ("Note: the response is right.", NONE),
    ("YES", NONE),
    ("Yes, it meets the rules. No doubt.", NONE),
    ("Final verdict", NONE),
    ("", NONE),
]


@pytest.mark.parametrize(("text", "verdict"), TABLE)
def test_table(text: str, verdict: Verdict) -> None:
    assert parse_verdict(text, "stop") is verdict


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("1. Items: met.\n2. Length: I count the words one by", NONE),
        ("1. Verdict: YES\n2. Now the commas", NONE),  # the verdict of one requirement, the check was cut
        ("Final verdict: NO\nbecause of the", NO),
        ("Final verdict: N", NONE),
        ("Final verdict:", NONE),
    ],
)
def test_text_cut_by_length(text: str, verdict: Verdict) -> None:
    assert parse_verdict(text, "length") is verdict


_markup = st.sampled_from(["", "**", "*", "`", "_", "## ", '"', "(", "> "])
_label = st.sampled_from(["Final verdict", "final judgement", "FINAL JUDGMENT", "Verdict", "judgement"])
_word = st.sampled_from(["YES", "yes", "Yes", "NO", "no", "No"])


@given(st.text(), _markup, _label, _markup, _word, st.sampled_from(["", ".", "!", "**", '"', "`.", ")"]))
def test_a_closing_verdict_line_decides_whatever_stands_before(
    before: str, opening: str, label: str, inner: str, word: str, closing: str
) -> None:
    text = f"{before}\n{opening}{label}: {inner}{word}{closing}"
    assert parse_verdict(text, "stop") is Verdict(word.upper())


@given(st.text(alphabet=st.characters(blacklist_characters="vVjJ")))
def test_no_label_no_verdict(text: str) -> None:
    assert parse_verdict(text + "\nYES\nNO", "stop") is NONE


@given(st.text(alphabet="finalverdctjugmsoy :/()*\n-or.|YESNO", max_size=200), st.sampled_from(["stop", "length"]))
def test_never_raises(text: str, finish_reason: str) -> None:
    assert parse_verdict(text, finish_reason) in Verdict  # type: ignore[arg-type]
