import pytest
from hypothesis import given
from hypothesis import strategies as st

from spar_core.prompts import PromptLibrary, VerdictForm
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


PUBLISHED = PromptLibrary.load("published").format.verdict
LABEL = "Final Judgement (if the Output accurately follows the Prompt)"


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        (f"I checked it.\n{LABEL}: Yes", YES),
        (f"{LABEL}: No", NO),
        (f"**{LABEL}:** No.", NO),
        (f"### {LABEL.lower()} - yes", YES),
        (f"Therefore, my {LABEL}: No, a comma is used.", NO),
        (f"{LABEL.replace('Judgement', 'Judgment')}:\n\n**Yes**", YES),
        (f"{LABEL}: Yes\nWait.\n{LABEL}: No", NO),
        (f"{LABEL}: Yes\n{LABEL}: unclear", NONE),
        (f"{LABEL}: (Yes or No)", NONE),
        (f"{LABEL}: Yes or {LABEL}: No", NONE),
        (f"{LABEL} (Yes/No): No", NO),
        (f"{LABEL}: Note the comma", NONE),
        (f"{LABEL}: Not met", NO),
        ("Final Judgement: Yes", YES),  # the usual labels are read too
        ("Final verdict: NO", NO),
        ("The output accurately follows the prompt: yes", NONE),
    ],
)
def test_the_published_label_is_read(text: str, verdict: Verdict) -> None:
    assert parse_verdict(text, "stop", PUBLISHED) is verdict


def test_without_its_form_the_published_label_is_none_of_ours() -> None:
    assert parse_verdict(f"{LABEL}: Yes", "stop") is NONE


def test_a_published_verdict_counts_in_a_cut_text() -> None:
    assert parse_verdict(f"{LABEL}: No\nbecause", "length", PUBLISHED) is NO
    assert parse_verdict(f"{LABEL}:", "length", PUBLISHED) is NONE


GERMAN = VerdictForm(labels=("Ergebnis",), yes=("Ja", "stimmt ganz"), no=("Nein", "stimmt"))


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("Ergebnis: Ja", YES),
        ("*Ergebnis*: **NEIN**, ein Komma fehlt.", NO),
        ("Ergebnis: stimmt  ganz", YES),  # the longer of two words that fit
        ("Ergebnis: stimmt", NO),
        ("Ergebnis: (Ja oder Nein)", NONE),
        ("Ergebnis: Ja/Nein", NONE),
        ("Ergebnis: Yes", NONE),  # the words of a form take the place of ours
        ("Ergebnis: Jacke", NONE),
        ("Final verdict: Ja", YES),
        ("Kein Urteil", NONE),
    ],
)
def test_labels_and_words_of_ones_own(text: str, verdict: Verdict) -> None:
    assert parse_verdict(text, "stop", GERMAN) is verdict


def test_words_of_a_script_without_spaces() -> None:
    form = VerdictForm(labels=("\u6700\u7ec8\u5224\u65ad",), yes=("\u662f",), no=("\u5426",))
    assert parse_verdict("\u68c0\u67e5\u5b8c\u6bd5\n\u6700\u7ec8\u5224\u65ad\uff1a\u5426", "stop", form) is NO
    assert parse_verdict("\u6700\u7ec8\u5224\u65ad\uff1a**\u662f**\u3002", "stop", form) is YES


@given(st.text(alphabet="ErgbnisJaNei:stmgz /()*\n-or.|", max_size=200), st.sampled_from(["stop", "length"]))
def test_own_words_never_raise(text: str, finish_reason: str) -> None:
    assert parse_verdict(text, finish_reason, GERMAN) in Verdict  # type: ignore[arg-type]
