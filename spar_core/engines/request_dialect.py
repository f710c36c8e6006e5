"""The body of a request, in the form the servers of one engine take; what they refuse is left out from then on."""

import logging
import sys
from collections.abc import Mapping
from typing import Any

from spar_core.engines.base import GenerationRequest
from spar_core.engines.chat_format import merge_system
from spar_core.errors import EngineError, RequestRejectedError
from spar_core.records import Message

_LOG = logging.getLogger(__name__)
# What leaving out a field means; those not named here can't be left out.
_CONSEQUENCES = {
    "n": "samples are asked for one by one",
    "seed": "the server draws without seeds",
    "temperature": "the server's own temperature holds",
    "top_p": "the server's own top_p holds",
    "structured_outputs": "the words of a verdict are asked for, and nothing holds the server to them",
    "continue_final_message": "the end of an unfinished turn is asked for as a turn of its own",
    "add_generation_prompt": "the end of an unfinished turn is asked for as a turn of its own",
    "logprobs": "the probabilities of a verdict's words are not known",
    "top_logprobs": "the probabilities of a verdict's words are not known",
}
CHOOSING = ("structured_outputs", "continue_final_message", "add_generation_prompt", "logprobs", "top_logprobs")
"""Fields of a request with choices; all but the log-probabilities are vLLM's."""
_TOGETHER = (frozenset(CHOOSING[1:3]), frozenset(CHOOSING[3:]))  # one without the other is refused, too
_MOST_LOGPROBS = 20  # that servers give of one token, vLLM by default and OpenAI at most


class RequestDialect:
    """Learns once for all requests; for one event loop.

    Args:
        model: name under which the servers serve the model.
        send_seed: whether requests carry their seed.
        extra: further fields of every request.
    """

    def __init__(self, model: str, send_seed: bool, extra: Mapping[str, Any]) -> None:
        self.asks_one_by_one = False
        self.merges_system = False
        self.most_tokens = sys.maxsize
        self.extra = dict(extra)
        self._model = model
        self._limit_field = "max_tokens"
        self._left_out: set[str] = set() if send_seed else {"seed"}

    def body(self, request: GenerationRequest, seed: int, n: int, max_tokens: int) -> dict[str, Any]:
        """The request as the servers take it, as far as known."""
        messages = merge_system(request.messages) if self.merges_system else request.messages
        if request.choices and self._left_out & {"continue_final_message", "add_generation_prompt"}:
            words = " or ".join(choice.strip() for choice in request.choices)
            messages = (*messages, Message("user", f"Finish your last line with one word: {words}."))
        fields = {
            "model": self._model,
            "messages": [{"role": message.role, "content": message.content} for message in messages],
            "temperature": request.sampling.temperature,
            "top_p": request.sampling.top_p,
            self._limit_field: max_tokens,
            "seed": seed,
            "n": n,
            **(self._choosing(request) if request.choices else {}),
        }
        return {**{name: value for name, value in fields.items() if name not in self._left_out}, **self.extra}

    def _choosing(self, request: GenerationRequest) -> dict[str, Any]:
        # Also without the space before it: where no token holds one, the server would have nothing to draw, and break.
        words = list(dict.fromkeys([*request.choices, *(choice.strip() for choice in request.choices)]))
        values = ({"choice": words}, True, False, True, _MOST_LOGPROBS)
        fields = dict(zip(CHOOSING, values, strict=True))
        refused = frozenset[str]().union(*(both for both in _TOGETHER if both & self._left_out))
        return {name: value for name, value in fields.items() if name not in refused}

    def learn_merging(self, said: str, sent: Mapping[str, Any]) -> None:
        """The servers' chat template takes no system messages.

        Raises:
            RequestRejectedError: none was sent, so these messages are refused for another reason.
        """
        if all(message["role"] != "system" for message in sent["messages"]):
            raise RequestRejectedError(said, reason="chat_template")
        self.merges_system = True

    def learn(self, field: str, said: str, sent: Mapping[str, Any]) -> None:
        """The servers do not take a field of a request that was sent.

        Raises:
            EngineError: without it requests would be others, or it was not even sent.
        """
        if field in self.extra:
            where = "the settings" if field == "chat_template_kwargs" else "extra_body"
            raise EngineError(f"{said}. Take {field!r} out of {where}")
        if field == "max_tokens" and field in sent:
            if self._limit_field == field:
                self._limit_field = "max_completion_tokens"
                _LOG.warning("%s. From now on max_completion_tokens is sent instead", said)
        elif field in _CONSEQUENCES and field in sent:
            if field not in self._left_out:
                self._left_out.add(field)
                _LOG.warning("%s. From now on %s is left out: %s", said, field, _CONSEQUENCES[field])
            self.asks_one_by_one = self.asks_one_by_one or field == "n"
        else:
            raise EngineError(
                f"{said}. This server does not take the requests of this engine: set it up to, or use another"
            )
