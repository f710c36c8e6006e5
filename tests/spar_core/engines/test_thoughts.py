"""Texts as models and servers send them, and what of each is thought and what answer."""

import pytest

from spar_core.engines.thoughts import KNOWN_TAGS, Split, Tags, ThoughtRules, opened_by

AUTO = ThoughtRules()
OPENED = ThoughtRules("opened")
NONE = ThoughtRules("none")


@pytest.mark.parametrize(
    ("raw", "thought", "text"),
    [
        # No thought at all.
        ("The answer.", "", "The answer."),
        ("", "", ""),
        (" The answer.", "", "The answer."),
        ("\nThe answer.\n", "", "The answer.\n"),
        ("\n\n  indented", "", " indented"),
        # The model opens and closes.
        ("<think>\nTwo and two.\n</think>\n\nFour.", "Two and two.", "Four."),
        ("<think>Two and two.</think>Four.", "Two and two.", "Four."),
        ("\n<think>Two.</think>\nFour.", "Two.", "Four."),
        ("  <think>Two.</think>Four.", "Two.", "Four."),
        ("<think>\n\n</think>\n\nFour.", "", "Four."),
        ("<think></think>\nFour.", "", "Four."),
        ("<think>a < b & </b></think>Four.", "a < b & </b>", "Four."),
        ("<think>one</think>\n<think>two</think>\nFour.", "one\n\ntwo", "Four."),
        ("<think>Two.</think>", "Two.", ""),
        ("<think>Two.</think>\n\n", "Two.", ""),
        # Cut while it thought.
        ("<think>", "", ""),
        ("<think>\nTwo and", "Two and", ""),
        ("<think>one</think><think>tw", "one\n\ntw", ""),
        ("<think>Two.</thi", "Two.</thi", ""),
        # Only the closing tag: the server's template opened it.
        ("Two and two.\n</think>\n\nFour.", "Two and two.", "Four."),
        ("Two and two.</think>\nFour.", "Two and two.", "Four."),
        ("Two and two.</think>", "Two and two.", ""),
        ("Two.</think> \r\nFour.", "Two.", "Four."),
        ("</think>\n\nFour.", "", "Four."),
        ("a\n</think>\nb\n</think>\nc", "a", "b\n</think>\nc"),
        # Tags that are the answer's own.
        ("Write `</think>` behind it.", "", "Write `</think>` behind it."),
        ("Write <think> first.", "", "Write <think> first."),
        ("Write <think> and\n</think>\nthen.", "", "Write <think> and\n</think>\nthen."),
        ("Four. <think>Was that so?</think>", "", "Four. <think>Was that so?</think>"),
        ("<think>a</think>Use <think>b</think> so.", "a", "Use <think>b</think> so."),
        ("<thinking>a</thinking>b", "", "<thinking>a</thinking>b"),
        # The other families.
        ("[THINK]Two.[/THINK]Four.", "Two.", "Four."),
        ("<|channel>thought\nTwo.\n<channel|>Four.", "Two.", "Four."),
        ("<|channel>thought\n<channel|>Four.", "", "Four."),
        ("<|START_THINKING|>Two.<|END_THINKING|>Four.", "Two.", "Four."),
        ("<seed:think>Two.</seed:think>\nFour.", "Two.", "Four."),
        ("<mm:think>Two.</mm:think>\nFour.", "Two.", "Four."),
        ("<thought>Two.</thought>\nFour.", "Two.", "Four."),
        ("<think>[/THINK] is no end</think>Four.", "[/THINK] is no end", "Four."),
    ],
)
def test_a_text_is_taken_apart_by_its_tags(raw: str, thought: str, text: str) -> None:
    assert AUTO.split(raw) == Split(thought, text)


@pytest.mark.parametrize(
    ("raw", "thought", "text"),
    [
        ("Two and two.\n</think>\n\nFour.", "Two and two.", "Four."),
        ("Two.</think>Four.", "Two.", "Four."),  # needs no end of line
        ("Two and", "Two and", ""),  # cut
        ("", "", ""),
        ("<think>Two.</think>Four.", "Two.", "Four."),  # opened again by the model
        ("<think>\nTwo", "Two", ""),
        ("Two.</think><think>more</think>Four.", "Two.\n\nmore", "Four."),
        ("Two [THINK] or</think>Four.", "Two [THINK] or", "Four."),
        ("Two.[/THINK]Four.", "Two.", "Four."),
    ],
)
def test_where_the_template_opens_the_thought_all_is_thought_up_to_the_closing_tag(
    raw: str, thought: str, text: str
) -> None:
    assert OPENED.split(raw) == Split(thought, text)


def test_a_template_that_names_its_tags_is_closed_by_these_alone() -> None:
    rules = ThoughtRules("opened", (Tags("<think>", "</think>"),))
    assert rules.split("a [/THINK] b</think>c") == Split("a [/THINK] b", "c")


def test_nothing_is_taken_apart_where_thoughts_belong_to_the_answer() -> None:
    for raw in ("<think>a</think>b", "a\n</think>\nb", "<think>a"):
        assert NONE.split(raw) == Split("", raw)
    assert NONE.split("\n a") == Split("", "a")


def test_tags_of_ones_own_replace_the_known_ones() -> None:
    rules = ThoughtRules("auto", (Tags("<<", ">>"),))
    assert rules.split("<<a>>b") == Split("a", "b")
    assert rules.split("<think>a</think>b") == Split("", "<think>a</think>b")


@pytest.mark.parametrize("tags", KNOWN_TAGS)
def test_a_prompt_that_ends_in_an_opening_tag_has_opened_a_thought(tags: Tags) -> None:
    for end in ("", "\n", " \n"):
        assert opened_by(f"<user>hi<assistant>{tags.opening}{end}") == tags
    assert opened_by(f"<user>hi<assistant>{tags.opening}\n\n{tags.closing}\n\n") is None
    assert opened_by(f"<user>say {tags.opening} twice<assistant>") is None
