"""From chat messages to the tokens a model reads, by the model's own chat template."""

import threading
from collections import OrderedDict
from typing import Any

from spar_core.errors import EngineError, RequestRejectedError
from spar_core.records import Message

_PROBE = "is-this-text-kept"
_CACHED_CHATS = 4096

Chat = tuple[Message, ...]


class ChatFormat:
    """Renders and tokenises chats with a tokenizer's chat template; thread-safe, the latest chats are cached.

    Args:
        tokenizer: a transformers tokenizer.
        origin: what to call the model in messages.

    Raises:
        EngineError: the tokenizer has no chat template.
    """

    def __init__(self, tokenizer: Any, origin: str) -> None:
        if not tokenizer.chat_template:
            raise EngineError(
                f"{origin} has no chat template: use the instruction-tuned variant of the model, or put its "
                "template into the folder as chat_template.jinja"
            )
        self._tokenizer = tokenizer
        self._origin = origin
        # Fast tokenizers refuse concurrent use ("Already borrowed") when a call touches their padding state.
        self._lock = threading.Lock()
        self._cache: OrderedDict[Chat, tuple[int, ...]] = OrderedDict()
        self.has_system_role = self._keeps_system_text()

    def tokens(self, messages: Chat) -> tuple[int, ...]:
        """Token ids of the chat, ending where the assistant's answer begins.

        Raises:
            RequestRejectedError: the template refuses the chat (reason "chat_template").
        """
        with self._lock:
            found = self._cache.get(messages)
            if found is not None:
                self._cache.move_to_end(messages)
                return found
            # A text too long for the model is refused by the engine; the tokenizer need not warn of it too.
            encoded = self._tokenizer(self._render(messages), add_special_tokens=False, verbose=False)
            found = tuple(encoded["input_ids"])
            self._cache[messages] = found
            if len(self._cache) > _CACHED_CHATS:
                self._cache.popitem(last=False)
            return found

    def text(self, messages: Chat) -> str:
        """The chat as the model reads it, special tokens included."""
        with self._lock:
            return self._render(messages)

    def decode(self, tokens: list[int]) -> str:
        """Text of generated tokens, without special tokens and the space some tokenizers put before the first word."""
        with self._lock:
            text: str = self._tokenizer.decode(tokens, skip_special_tokens=True)
        return text.removeprefix(" ")

    def _render(self, messages: Chat) -> str:
        turns = messages if self.has_system_role else merge_system(messages)
        try:
            return self._apply(turns)
        except Exception as error:  # templates raise whatever they like; the request is at fault
            raise RequestRejectedError(
                f"the chat template of {self._origin} refuses these messages: {error}", reason="chat_template"
            ) from error

    def _apply(self, messages: Chat) -> str:
        turns = [{"role": message.role, "content": message.content} for message in messages]
        text: str = self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        return text

    def _keeps_system_text(self) -> bool:
        try:
            return _PROBE in self._apply((Message("system", _PROBE), Message("user", "x")))
        except Exception:  # noqa: BLE001  a template without a system role may raise anything
            return False


def merge_system(messages: Chat) -> Chat:
    """Move system texts to the head of the first user turn, for templates that know no system role."""
    system = [message.content for message in messages if message.role == "system"]
    turns = [message for message in messages if message.role != "system"]
    if not system:
        return messages
    first = next((place for place, turn in enumerate(turns) if turn.role == "user"), None)
    if first is None:
        return (Message("user", "\n\n".join(system)), *turns)
    turns[first] = Message("user", "\n\n".join([*system, turns[first].content]))
    return tuple(turns)
