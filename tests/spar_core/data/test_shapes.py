import pytest

from spar_core.data.shapes import shaped
from spar_core.errors import DataError
from spar_core.records import Message

USER, ASSISTANT, SYSTEM = Message("user", "q"), Message("assistant", "a"), Message("system", "s")
TURNS = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
LONG = [*TURNS, {"role": "user", "content": "r"}, {"role": "assistant", "content": "b"}]
LONG_PROMPT = (USER, ASSISTANT, Message("user", "r"))
GOOD, BAD = {"role": "assistant", "content": "a"}, {"role": "assistant", "content": "w"}


@pytest.mark.parametrize(
    ("row", "shape", "prompt", "answer"),
    [
        ({"messages": TURNS}, "messages", (USER,), "a"),
        ({"messages": LONG, "prompt": "ignored"}, "messages", LONG_PROMPT, "b"),
        ({"messages": [{"role": "system", "content": "s"}, *TURNS]}, "messages", (SYSTEM, USER), "a"),
        ({"messages": [{"role": "system", "content": ""}, *TURNS]}, "messages", (USER,), "a"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}]}, GOOD]}, "messages", (USER,), "a"),
        ({"messages": TURNS[:1]}, "messages", (USER,), None),
        ({"conversations": TURNS}, "messages", (USER,), "a"),
        (
            {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}], "system": "s"},
            "ShareGPT",
            (SYSTEM, USER),
            "a",
        ),
        ({"prompt": "q", "response": "a"}, "prompt/response", (USER,), "a"),
        ({"prompt": "q", "completion": "a", "messages": None}, "prompt/completion", (USER,), "a"),
        ({"prompt": TURNS[:1], "completion": [GOOD]}, "prompt/completion", (USER,), "a"),
        ({"question": "q", "answer": "a"}, "question/answer", (USER,), "a"),
        ({"instruction": "q", "output": "a"}, "Alpaca", (USER,), "a"),
        ({"instruction": "q", "input": "", "output": "a", "system": "s"}, "Alpaca", (SYSTEM, USER), "a"),
        ({"instruction": "q", "input": "more", "output": "a"}, "Alpaca", (Message("user", "q\nmore"),), "a"),
        ({"instruction": "r", "output": "b", "history": [["q", "a"]]}, "Alpaca", LONG_PROMPT, "b"),
        ({"prompt": "q"}, "prompt", (USER,), None),
    ],
)
def test_examples_of_every_shape(row, shape, prompt, answer):
    found = shaped(row)
    assert (found.shape, found.prompt, found.answer, found.rejected) == (shape, prompt, answer, None)


@pytest.mark.parametrize(
    ("row", "shape", "prompt"),
    [
        ({"prompt": "q", "chosen": "a", "rejected": "w"}, "prompt/chosen/rejected", (USER,)),
        ({"messages": TURNS[:1], "chosen": GOOD, "rejected": BAD}, "messages/chosen/rejected", (USER,)),
        ({"messages": LONG[:3], "chosen": GOOD, "rejected": BAD}, "messages/chosen/rejected", LONG_PROMPT),
        ({"prompt": TURNS[:1], "chosen": [GOOD], "rejected": [BAD]}, "prompt/chosen/rejected", (USER,)),
        ({"chosen": [*LONG[:3], GOOD], "rejected": [*LONG[:3], BAD]}, "chosen/rejected", LONG_PROMPT),
        # UltraFeedback: the prompt is told three times
        (
            {"prompt": "q", "messages": TURNS, "chosen": [TURNS[0], GOOD], "rejected": [TURNS[0], BAD]},
            "chosen/rejected",
            (USER,),
        ),
        (
            {
                "conversations": [{"from": "human", "value": "q"}],
                "chosen": {"from": "gpt", "value": "a"},
                "rejected": {"from": "gpt", "value": "w"},
            },
            "conversations/chosen/rejected",
            (USER,),
        ),
        (
            {"instruction": "q", "input": "", "chosen": "a", "rejected": "w", "system": "s"},
            "instruction/chosen/rejected",
            (SYSTEM, USER),
        ),
    ],
)
def test_pairs_of_every_shape(row, shape, prompt):
    found = shaped(row)
    assert (found.shape, found.prompt, found.answer, found.rejected) == (shape, prompt, "a", "w")


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"text": "q"}, r"the row has \['text'\]; expected are messages or conversations"),
        ({}, r"the row has \[\]"),
        ({"messages": "q"}, "a list of turns .* is expected, not 'q'"),
        ({"messages": []}, "a list of turns"),
        ({"messages": ["q"]}, "turn 1 needs role and content"),
        ({"messages": [{"role": "user"}]}, "turn 1 needs role and content"),
        ({"messages": [*TURNS, {"role": "tool", "content": "x"}]}, "turn 3 is by 'tool'"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}, GOOD]}, "content of turn 1 must be text"),
        ({"messages": [{"role": "user", "content": None}, GOOD]}, "content of turn 1 must be text, not None"),
        ({"messages": [GOOD]}, "at least two turns"),
        ({"messages": [GOOD, *TURNS]}, "turn 1 must be by user, not assistant"),
        ({"messages": [*TURNS, GOOD]}, "turn 3 must be by user, not assistant"),
        ({"messages": [*TURNS, {"role": "system", "content": "s"}]}, "turn 3 must be by user, not system"),
        ({"messages": [{"role": "system", "content": "s"}]}, "must end with the user's turn"),
        ({"messages": [{"role": "user", "content": " "}, GOOD]}, r"turn 1 \(user\) is blank"),
        ({"prompt": " ", "response": "a"}, "column 'prompt' must be text that is not blank"),
        ({"prompt": "q", "response": ""}, r"turn 2 \(assistant\) is blank"),
        ({"prompt": "q", "response": 3}, "column 'response' must be text or turns, not int"),
        ({"prompt": "q", "completion": TURNS}, "must be the answer alone; it holds 2 turns"),
        ({"prompt": "q", "completion": TURNS[:1]}, "must end with the assistant's turn, not user's"),
        ({"instruction": "q", "input": 3, "output": "a"}, "column 'input' must be text"),
        ({"instruction": "q", "output": "a", "history": ["x"]}, "column 'history' must be a list"),
        ({"messages": TURNS, "system": 3}, "column 'system' must be text"),
        ({"prompt": "q", "completion": "a", "label": False}, "a label true or false"),
        ({"prompt": "q", "chosen": "a"}, "rejected is missing"),
        ({"prompt": "q", "chosen": "a", "rejected": None}, "rejected is missing"),
        ({"chosen": "a", "rejected": "w"}, "a pair needs its prompt"),
        (
            {"prompt": "q", "chosen": "a", "rejected": "w", "rejected_cut": 1},
            "'rejected_cut' must be true or false, not 1",
        ),
        ({"prompt": "q", "chosen": "a", "rejected": " "}, "the rejected answer is blank"),
        ({"messages": TURNS, "chosen": GOOD, "rejected": BAD}, "turn 3 must be by user"),
        ({"chosen": TURNS, "rejected": [{"role": "user", "content": "r"}, BAD]}, "begin with different prompts"),
    ],
)
def test_rows_that_are_broken_say_how(row, told):
    with pytest.raises(DataError, match=told):
        shaped(row)
