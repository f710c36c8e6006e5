"""From chat messages to the tokens a model reads, by the model's own chat template."""

import re
import threading
from collections import OrderedDict
from collections.abc import Sequence
from datetime import date
from typing import Any, Final

from spar_core.engines.configuration import ThinkingSettings
from spar_core.engines.thoughts import Tags, ThoughtRules, opened_by
from spar_core.errors import EngineError, RequestRejectedError
from spar_core.records import Message

_PROBE = "is-this-text-kept"
_CACHED_CHATS = 4096
_DEFAULT = "default"  # what transformers calls the one of several templates that chats are laid out with
TEMPLATE_DATE: Final = date(2024, 7, 26)
"""The day that chat templates are told which write today's (Llama 3.2 and others): the one Llama's own falls back to.
Equal requests are to have equal answers, and trainings equal data, whatever the day."""
_TODAY = re.compile(r"""strftime_now\(\s*(?P<quote>["'])(?P<format>[^"'\\]*)(?P=quote)\s*\)""")

Chat = tuple[Message, ...]


class ChatFormat:
    """Renders and tokenises chats with a tokenizer's chat template; thread-safe, the latest chats are cached.

    Args:
        tokenizer: a transformers tokenizer.
        origin: what to call the model in messages.
        thinking: another template, variables of the template, and how thoughts are told from answers.

    Attributes:
        own_template: what the tokenizer uses by itself; None: it has none.
        template: what is used.
        opened: the tags of the thought that the template opens at the end of a prompt; None: it opens none.
        rules: how this model's texts are taken apart.
        boundaries: the first token of a thought's opening tag, and the one token of its closing tag; None where the
            model writes its closing tag in several.
        hides_tags: whether plain decoding, as servers do it, leaves the tags of thoughts out.

    Raises:
        EngineError: the tokenizer has no chat template, or none of the name that is asked for.
    """

    def __init__(self, tokenizer: Any, origin: str, thinking: ThinkingSettings | None = None) -> None:
        self._thinking = thinking or ThinkingSettings()
        if not tokenizer.chat_template and self._thinking.chat_template is None:
            raise EngineError(
                f"{origin} has no chat template: use the instruction-tuned variant of the model, or put its "
                "template into the folder as chat_template.jinja"
            )
        self._tokenizer = tokenizer
        self._origin = origin
        self.own_template = self._own_template()
        self.template = dated(self._chosen_template())
        # Fast tokenizers refuse concurrent use ("Already borrowed") when a call touches their padding state.
        self._lock = threading.Lock()
        self._cache: OrderedDict[Chat, tuple[int, ...]] = OrderedDict()
        self.has_system_role = self._keeps_system_text()
        self.opened = self._opened()
        self.rules = self._thinking.rules()
        if self.opened and self.rules.reading == "auto":
            self.rules = ThoughtRules("opened", (self.opened,))
        self.boundaries = self._boundaries()
        self._kept = self._tokens_of_tags()
        self.hides_tags = bool(self._kept)

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

    def continued(self, messages: Chat, endings: Sequence[str]) -> list[list[int]]:
        """Token ids of a chat whose last message, the assistant's, goes on with each of these endings.

        A thought that the template opens is closed empty before that message.

        Raises:
            RequestRejectedError: the template refuses the chat (reason "chat_template").
        """
        with self._lock:
            begun = self._render(messages[:-1]) + (f"{self.opened[1]}\n\n" if self.opened else "")
            begun += messages[-1].content
            texts = [begun + ending for ending in endings]
            encoded: list[list[int]] = self._tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
            return encoded

    def text(self, messages: Chat) -> str:
        """The chat as the model reads it, special tokens included."""
        with self._lock:
            return self._render(messages)

    def finished(self, messages: Chat) -> str:
        """The chat with its last answer, without a prompt for another.

        Raises:
            RequestRejectedError: the template refuses the chat (reason "chat_template").
        """
        with self._lock:
            return self._render(messages, prompting=False)

    def decode(self, tokens: list[int]) -> str:
        """Text of generated tokens, without special tokens but for those of thought tags."""
        pieces, start = [], 0
        with self._lock:
            if not self._kept:
                return self._decoded(tokens)
            for place, token in enumerate(tokens):
                if token in self._kept:
                    pieces += [self._decoded(tokens[start:place]), self._kept[token]]
                    start = place + 1
            pieces.append(self._decoded(tokens[start:]))
        return "".join(pieces)

    def _render(self, messages: Chat, *, prompting: bool = True) -> str:
        turns = messages if self.has_system_role else merge_system(messages)
        try:
            return self._apply(turns, prompting)
        except Exception as error:  # templates raise whatever they like; the request is at fault
            raise RequestRejectedError(
                f"the chat template of {self._origin} refuses these messages: {error}", reason="chat_template"
            ) from error

    def _apply(self, messages: Chat, prompting: bool = True) -> str:
        turns = [{"role": message.role, "content": message.content} for message in messages]
        text: str = self._tokenizer.apply_chat_template(
            turns,
            chat_template=self.template,
            tokenize=False,
            add_generation_prompt=prompting,
            **self._thinking.chat_template_kwargs,
        )
        return text

    def _decoded(self, tokens: list[int]) -> str:
        text: str = self._tokenizer.decode(tokens, skip_special_tokens=True)
        return text

    def _own_template(self) -> str | None:
        known = self._tokenizer.chat_template
        found: str | None = known.get(_DEFAULT) if isinstance(known, dict) else known
        return found

    def _chosen_template(self) -> str:
        asked, known = self._thinking.chat_template, self._tokenizer.chat_template
        if asked is not None and is_template_text(asked):
            return asked
        named = known if isinstance(known, dict) else {_DEFAULT: known} if known else {}
        if asked is None and _DEFAULT not in named:
            raise EngineError(
                f"{self._origin} has several chat templates ({', '.join(named)}) and none called {_DEFAULT}: name one "
                "of them (engine.chat_template)"
            )
        if (asked or _DEFAULT) not in named:
            raise EngineError(
                f"{self._origin} has no chat template {asked!r}; it has {', '.join(named) or 'none'}. Name one of "
                "them, or give the text of another"
            )
        template: str = named[asked or _DEFAULT]
        return template

    def _opened(self) -> Tags | None:
        try:
            return opened_by(self._apply((Message("user", _PROBE),)), self._thinking.rules().tags)
        except Exception:  # noqa: BLE001  a template that refuses this chat refuses requests, and says why then
            return None

    def _boundaries(self) -> tuple[int, int] | None:
        for tags in self.rules.tags:
            opening, closing = (self._tokenizer.encode(tag, add_special_tokens=False) for tag in tags)
            if len(closing) == 1 and opening[:1] not in ([], closing) and closing[0] != self._tokenizer.unk_token_id:
                return opening[0], closing[0]
        return None

    def _tokens_of_tags(self) -> dict[int, str]:
        """The special tokens of which thought tags are made, by id: plain decoding would leave them out."""
        if self._thinking.thoughts == "none":
            return {}
        tags = [tag for pair in self._thinking.rules().tags for tag in pair]
        special = {str(token) for token in self._tokenizer.all_special_tokens}
        special |= {entry.content for entry in self._tokenizer.added_tokens_decoder.values() if entry.special}
        named = [token for token in special if any(tag.startswith(token) for tag in tags)]
        return {self._tokenizer.convert_tokens_to_ids(token): token for token in named}

    def _keeps_system_text(self) -> bool:
        try:
            return _PROBE in self._apply((Message("system", _PROBE), Message("user", "x")))
        except Exception:  # noqa: BLE001  a template without a system role may raise anything
            return False


def dated(template: str) -> str:
    """A chat template in which every question for today's date is answered by `TEMPLATE_DATE`."""
    return _TODAY.sub(lambda found: repr(TEMPLATE_DATE.strftime(found["format"])), template)


def is_template_text(template: str) -> bool:
    """Whether this is a chat template itself, and not the name of one."""
    return "{{" in template or "{%" in template


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
