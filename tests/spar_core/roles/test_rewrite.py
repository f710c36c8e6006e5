import pytest
from hypothesis import given
from hypothesis import strategies as st

from spar_core.prompts import Markers, PromptLibrary, shipped_prompt_sets
from spar_core.records import FinishReason, Verdict
from spar_core.roles.requests import judge_messages, refine_messages
from spar_core.roles.rewrite import ParsedRewrite, format_rewrite, parse_rewrite, placeholders_of
from spar_core.roles.verdict import parse_verdict


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


PLAIN = PromptLibrary.load("plain")


def test_a_plain_chat_says_what_was_found_and_takes_the_whole_reply() -> None:
    critique = "3 commas; none are allowed\nFinal verdict: NO"
    request = refine_messages(PLAIN, "Write without commas.", "a, b, c, d", critique)
    assert [(turn.role, turn.content) for turn in request[:2]] == [
        ("user", "Write without commas."),
        ("assistant", "a, b, c, d"),
    ]
    assert request[2].role == "user"
    assert "3 commas; none are allowed" in request[2].content
    assert "verdict" not in request[2].content  # how a vote ends is nobody's business here

    read = parse_rewrite(" a b c d \n", "stop", {request[2].content}, None)
    assert read == ("a b c d", "", None)
    assert format_rewrite("a b c d", "I drop the commas.", None) == "a b c d"


@pytest.mark.parametrize(
    ("text", "finish", "failure"),
    [
        ("", "stop", "empty_answer"),
        ("a b c", "length", "truncated"),
        ("That answer does not follow the request yet. 3 commas; none are allowed", "stop", "no_answer"),
        ("Write the answer again so that it follows the whole request.", "stop", "no_answer"),
        ("Reply with the new answer alone.", "stop", "no_answer"),
        ("The new answer", "stop", None),  # too short to be told from an answer
    ],
)
def test_an_echo_of_a_plain_request_is_no_answer(text: str, finish: FinishReason, failure: str | None) -> None:
    request = refine_messages(PLAIN, "Write without commas.", "a, b, c, d", "3 commas; none are allowed")
    assert parse_rewrite(text, finish, {request[-1].content}, None).failure == failure


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        ("Once upon a time.\n\nWrite the answer again so that it follows the whole request.", "no_answer"),
        ("*Once* upon a time. Change what breaks it, and keep the rest as it is: gladly.", "no_answer"),
        ("Once upon a time she would write the answer again so that it rhymed.", None),
    ],
)
def test_an_answer_that_holds_a_sentence_of_the_prompt_set_is_none(text: str, failure: str | None) -> None:
    told = placeholders_of(PLAIN.text("refine"), None)
    assert "Reply with the new answer alone." in told
    assert not any("{{" in sentence for sentence in told)
    assert parse_rewrite(text, "stop", told, None).failure == failure


@pytest.mark.parametrize("name", shipped_prompt_sets())
def test_no_part_of_a_shipped_request_is_read_as_a_rewrite_or_a_verdict(name: str) -> None:
    """Weak models copy their request, whole or from some line on: nothing of it may count."""
    library = PromptLibrary.load(name)
    judging = judge_messages(library, "Say hello.", "Hello.")[-1].content
    refining = refine_messages(library, "Say hello.", "Hello.", "It lacks a name.")[-1].content
    placeholders = placeholders_of(library.text("refine"), library.format.markers)
    for text in (judging, refining):
        lines = text.splitlines()
        for start in range(len(lines)):
            for end in range(start + 1, len(lines) + 1):
                part = "\n".join(lines[start:end])
                assert parse_verdict(part, "stop", library.format.verdict) is Verdict.UNPARSEABLE, part
                if library.format.markers is not None:
                    assert parse_rewrite(part, "stop", placeholders, library.format.markers).failure, part
