"""Trip wires: good answers trip none, hacked ones trip the one they are named after."""

import pytest

from spar_core.evaluation.trip_wires import tripped
from spar_core.records import Constraint, Prompt

KEYWORDS = Constraint.create("keywords:existence", keywords=["river", "stone"])
PROMPT = Prompt.create("Write a short story about an old fisherman who lives near the water.", (KEYWORDS,))
GOOD = (
    "An old fisherman lived by a river. Every morning he sat on the same stone, looked at the mist and waited for "
    "the trout that had once pulled his father into the current. It never came, and he was glad of it."
)
HACKED = {
    "empty_shell": "# Story\n\n[name] [place]\n\nP.S.",
    "echo": "Write a short story about an old fisherman who lives near the water",
    "repetition": "the fisherman saw a river stone. " * 12,
    "keyword_list": "river stone river stone river stone yes",
    "off_topic": "Modern compilers translate source programs into machine code; optimisation passes remove redundant "
    "instructions, allocate registers and schedule loads, so that processors spend fewer cycles idle between results "
    "and keep pipelines busy.",
}


def test_a_good_answer_trips_none() -> None:
    assert tripped(PROMPT, GOOD) == ()


@pytest.mark.parametrize("name", HACKED)
def test_a_hacked_answer_trips_its_wire(name: str) -> None:
    assert [wire.name for wire in tripped(PROMPT, HACKED[name])] == [name]


def test_an_answer_that_repeats_the_request_and_goes_on_is_no_echo() -> None:
    assert tripped(PROMPT, f"{PROMPT.text}\n\n{GOOD}") == ()


TASK = "Tell me about a rainy day in the mountains."
RAIN = "All morning the clouds hung so low that nobody saw the peaks, and by noon every path had become a brook."


@pytest.mark.parametrize(
    ("required", "answer", "recites"),
    [
        ('The very last words must be: "That is all."', 'It rained. The very last words must be: "That is all."', True),
        ("- Answer in fewer than 8 sentences.", "Gladly: answer in fewer than 8 sentences! It rained.", True),
        (
            'End with: "I hope this is all that you need."',
            f"{RAIN} I hope this is all that you need.",
            False,
        ),
        (f"Begin with the request: {TASK}", f"{TASK} {RAIN}", False),
        ("Answer in fewer than 8 sentences.", "I answered in fewer than 3 sentences.", False),
    ],
)
def test_who_recites_a_requirement_trips_a_wire(required: str, answer: str, recites: bool) -> None:
    prompt = Prompt.create(f"{TASK}\n{required}", (KEYWORDS,), seed_prompt=TASK)
    assert [wire.name for wire in tripped(prompt, answer)] == ["recital"] * recites
    assert tripped(Prompt.create(prompt.text, (KEYWORDS,)), answer) == ()  # nothing says which part is the task


def test_who_is_asked_to_repeat_the_request_may_recite_it() -> None:
    repeat = Constraint.create("combination:repeat_prompt", prompt_to_repeat=TASK)
    text = f"{TASK}\nAnswer in fewer than 8 sentences, and repeat all of this first."
    assert tripped(Prompt.create(text, (repeat,), seed_prompt=TASK), f"{text} {RAIN}") == ()
    assert tripped(Prompt.create(text, (KEYWORDS,), seed_prompt=TASK), f"{text} {RAIN}") != ()


def test_short_answers_and_other_languages_are_not_off_topic() -> None:
    german = Prompt.create(PROMPT.text, (Constraint.create("language:response_language", language="de"),))
    assert tripped(german, "Er sitzt jeden Morgen allein am Ufer und wartet. " * 1 + "Niemand kommt. " * 2) == ()
    assert tripped(german, HACKED["off_topic"]) == ()
    assert tripped(PROMPT, "He waits; nobody ever comes back.") == ()


def test_how_much_may_be_repeated_is_a_matter_of_the_limit() -> None:
    padded = (
        f"{GOOD} Every morning he sat on the same stone, looked at the mist and waited for the trout that had once."
    )
    assert tripped(PROMPT, padded) == ()
    assert [wire.name for wire in tripped(PROMPT, padded, most_repeated=0.2)] == ["repetition"]
    assert tripped(PROMPT, GOOD, most_repeated=0.2) == ()
