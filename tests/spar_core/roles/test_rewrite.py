import pytest
from hypothesis import given
from hypothesis import strategies as st

from spar_core.prompts import Markers, PromptLibrary
from spar_core.roles.rewrite import ParsedRewrite, format_rewrite, parse_rewrite, placeholders_of


@pytest.mark.parametrize(
    ("text", "response", "reflection", "failure"),
    [
        ("Fix it.\n<revised_answer>\nA\nB\n</revised_answer>\nDone.", "A\nB", "Fix it.", None),
        ("<revised_answer>A</revised_answer>", "A", "", None),
        # the last well-formed pair
        ("<revised_answer>old</revised_answer> no:\n<revised_answer>new</revised_answer>", "new", None, None),
        ("I write <revised_answer> first.\n<revised_answer>\nA\n</revised_answer>", "A", None, None),
        ("It is off. <revised_answer>A b.</revised_answer>", "A b.", "It is off.", None),
        # a start after the last end: begun anew, not finished (missing end marker: never accepted)
        ("<revised_answer>A</revised_answer>\n<revised_answer>B", "B", None, "truncated"),
        ("In <revised_answer> and </revised_answer>.\n<revised_answer>\nreal, cut", "real, cut", None, "truncated"),
        # markers named in a sentence are no answer
        ("I put it between <revised_answer> and </revised_answer>.", "", None, "no_answer"),
        ("between `<revised_answer>` and `</revised_answer>`", "", None, "no_answer"),
        ("Use <revised_answer>the text</revised_answer> as asked.", "", None, "no_answer"),
        ("Use <revised_answer> and </revised_answer>:\n<revised_answer>\nA\n</revised_answer>", "A", None, None),
        ("<revised_answer>\nA\n</revised_answer>\nIt is in <revised_answer> and </revised_answer>.", "A", "", None),
        ("<revised_answer>\nand\n</revised_answer>", "and", "", None),
        # what the request shows between its markers is no answer
        ("<revised_answer>\nThe full rewritten answer\n</revised_answer>", "", None, "no_answer"),
        ("<revised_answer>[the full rewritten answer]</revised_answer>", "", None, "no_answer"),
        ("<revised_answer>\n...\n</revised_answer>", "", None, "no_answer"),
        # markup around the markers
        ("Why\n**<revised_answer>**\nA **b**\n**</revised_answer>**", "A **b**", "Why", None),
        ("### `<Revised_Answer>`\nA\n`</Revised_Answer>`", "A", "", None),
        ("Why\n\n## <revised_answer>\nA\n</revised answer>", "A", "Why", None),
        ("<revised_answer>**A**</revised_answer>", "**A**", "", None),
        ("It is **bold**\n<revised_answer>A</revised_answer>", "A", "It is **bold**", None),
        # truncated, empty, none
        ("Why <revised_answer>\nA and", "A and", "Why", "truncated"),
        ("<revised_answer>\n\n</revised_answer>", "", "", "empty_answer"),
        ("Here is the answer: A", "", "Here is the answer: A", "no_answer"),
        ("A</revised_answer>", "", "A</revised_answer>", "no_answer"),
    ],
)
def test_finished_texts(text: str, response: str, reflection: str | None, failure: str | None) -> None:
    parsed = parse_rewrite(text, "stop", placeholders_of(PromptLibrary.load().text("refine")))
    assert (parsed.response, parsed.failure) == (response, failure)
    if reflection is not None:
        assert parsed.reflection == reflection


def test_a_text_cut_by_length_is_truncated_even_with_its_end_marker() -> None:
    assert parse_rewrite("<revised_answer>A</revised_answer> and", "length") == ParsedRewrite("A", "", "truncated")
    assert parse_rewrite("I will rew", "length") == ParsedRewrite("", "I will rew", "truncated")


_text = st.text(alphabet=st.sampled_from("ab *#`_<>/\n"), max_size=40).map(str.strip)


@given(_text.filter(bool), _text)
def test_what_is_written_is_read_back(response: str, reflection: str) -> None:
    parsed = parse_rewrite(format_rewrite(response, reflection), "stop")
    assert parsed.response == response
    assert parsed.failure is None
    again = parse_rewrite(format_rewrite(parsed.response, parsed.reflection), "stop")
    assert again == parsed


PUBLISHED = PromptLibrary.load("published")


@pytest.mark.parametrize(
    ("text", "response", "reflection", "failure"),
    [
        ("Fix it.\n[[start]]\nA\nB\n[[end]]\nDone.", "A\nB", "Fix it.", None),
        ("Why\n**[[Start]]** A **[[End]]**", "A", "Why", None),
        ("Why\n[[ start ]]A [1]\n[ [end]]", "A [1]", "Why", None),
        ("I put it between [[start]] and [[end]].\n[[start]]\nA\n[[end]]", "A", None, None),
        ("[[start]]\nThe complete new Output\n[[end]]", "", None, "no_answer"),  # the prompt's placeholder
        ("[[start]]\nold\n[[end]]\nno:\n[[start]]\nnew", "new", None, "truncated"),
        ("[[start]]\n\n[[end]]", "", "", "empty_answer"),
        ("<revised_answer>A</revised_answer>", "", "<revised_answer>A</revised_answer>", "no_answer"),
        ("[[start]] <revised_answer>A</revised_answer> [[end]]", "<revised_answer>A</revised_answer>", "", None),
    ],
)
def test_the_markers_are_those_of_the_prompt_set(
    text: str, response: str, reflection: str | None, failure: str | None
) -> None:
    markers = PUBLISHED.format.markers
    parsed = parse_rewrite(text, "stop", placeholders_of(PUBLISHED.text("refine"), markers), markers)
    assert (parsed.response, parsed.failure) == (response, failure)
    if reflection is not None:
        assert parsed.reflection == reflection


@given(
    _text.filter(bool),
    _text,
    st.sampled_from([("[[start]]", "[[end]]"), ("### new text", "### END"), ("{a_b}", "{c}")]),
)
def test_what_is_written_between_any_markers_is_read_back(
    response: str, reflection: str, pair: tuple[str, str]
) -> None:
    markers = Markers(start=pair[0], end=pair[1])
    parsed = parse_rewrite(format_rewrite(response, reflection, markers), "stop", (), markers)
    assert (parsed.response, parsed.failure) == (response, None)
