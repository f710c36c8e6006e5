import math
from typing import Any

import pytest
from misbehaving_server import Reply, answer, choice, serving
from openai_requests import always, ask_one, engine_for

from spar_core.engines.base import Completion, GenerationRequest, Sampling
from spar_core.engines.choice_shares import with_shares
from spar_core.records import Message

CHOICES = (" YES", " NO")
ASKED = GenerationRequest(
    (Message("user", "hi"), Message("assistant", "fine\nFinal verdict:")), Sampling(0.7, 1.0, 16), 4, 1, CHOICES
)


def told(**logprobs: float) -> dict[str, Any]:
    likely = [{"token": f" {token}", "logprob": value} for token, value in logprobs.items()]
    return {**choice(" NO"), "logprobs": {"content": [{"token": " NO", "logprob": -1.0, "top_logprobs": likely}]}}


def test_vllm_is_held_to_the_choices_and_tells_their_probabilities() -> None:
    reply = answer(told(YES=math.log(0.2), NO=math.log(0.6), Maybe=math.log(0.1)))
    with serving(always(reply)) as server:
        said = ask_one(engine_for(server.url), ASKED).completions[0]
    assert said.text.strip() == "NO"
    assert said.shares == pytest.approx((0.25, 0.75))
    (sent,) = server.requests
    assert sent["messages"][-1] == {"role": "assistant", "content": "fine\nFinal verdict:"}
    assert sent["structured_outputs"] == {"choice": [" YES", " NO", "YES", "NO"]}
    assert (sent["continue_final_message"], sent["add_generation_prompt"]) == (True, False)
    assert (sent["logprobs"], sent["top_logprobs"]) == (True, 20)


def test_a_server_that_refuses_these_fields_is_asked_for_the_word_in_a_turn_of_its_own() -> None:
    refused = ["structured_outputs", "continue_final_message", "add_generation_prompt", "logprobs", "top_logprobs"]

    def picky(body: dict[str, Any], call: int) -> Reply:
        for field in refused:
            if field in body:
                return Reply(400, {"error": {"message": f"Unrecognized request argument supplied: {field}"}})
        assert "top_logprobs" not in body or "logprobs" in body
        return answer(choice("NO."))

    with serving(picky) as server:
        said = ask_one(engine_for(server.url), ASKED).completions[0]
    assert (said.text, said.shares) == ("NO.", ())
    assert server.requests[-1]["messages"][-1] == {
        "role": "user",
        "content": "Finish your last line with one word: YES or NO.",
    }


def test_what_a_request_without_choices_sends_is_as_before() -> None:
    with serving() as server:
        ask_one(engine_for(server.url), GenerationRequest((Message("user", "hi"),), Sampling(), 1))
    assert not {"structured_outputs", "logprobs", "continue_final_message"} & set(server.requests[0])


@pytest.mark.parametrize(
    ("content", "shares"),
    [
        (None, ()),
        ([], ()),
        (
            [{"token": " ", "top_logprobs": []}, {"token": "Y", "top_logprobs": [{"token": "Y", "logprob": 0.0}]}],
            (1, 0),
        ),
        ([{"token": "Hm", "top_logprobs": [{"token": "Hm", "logprob": -0.1}]}], ()),
        ([{"token": " NO", "top_logprobs": [{"token": " NO", "logprob": -math.inf}]}], ()),
    ],
)
def test_shares_are_of_the_first_token_that_begins_a_choice(content: Any, shares: tuple[float, ...]) -> None:
    body = {"choices": [{"index": 0, "logprobs": None if content is None else {"content": content}}]}
    assert with_shares([Completion(" NO", "stop", 1)], body, CHOICES)[0].shares == shares
