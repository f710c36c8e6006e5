"""From chats to the token ids of training: the prompt as an engine sends it, the answer as the model would write it."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from spar_core.engines.chat_format import Chat, ChatFormat
from spar_core.engines.configuration import ThinkingSettings
from spar_core.errors import EngineError, TrainingError
from spar_core.records import Message

_PROBE = "is-this-the-answer"
_CLOSING_TOKENS = 4  # how far from the end a template's end-of-turn token may stand (ChatML: end token, newline)


class RewrittenTurnError(TrainingError):
    """The template shows an earlier answer otherwise than it was written: this chat cannot be learned turn by turn."""


class EncodedChat(NamedTuple):
    """`prompt + answers[i]` is a whole sequence; only the answer's tokens are trained on."""

    prompt: list[int]
    answers: list[list[int]]


class ChatTokenizer:
    """A tokenizer with its chat template, and the end-of-turn tokens of its model.

    Args:
        tokenizer: a transformers tokenizer.
        stop_ids: ids at which engines stop (generation_config.eos_token_id); the tokenizer's end token joins them.
        thinking: variables of the chat template, as for the engine that serves the model.

    Raises:
        TrainingError: no chat template, or no end token.
    """

    def __init__(self, tokenizer: Any, stop_ids: Iterable[int] = (), thinking: ThinkingSettings | None = None) -> None:
        self._origin = str(tokenizer.name_or_path or "the model")
        try:
            self._format = ChatFormat(tokenizer, self._origin, thinking)
        except EngineError as error:
            raise TrainingError(str(error)) from error
        self._tokenizer = tokenizer
        self._stop_ids = frozenset(stop_ids) | {x for x in [tokenizer.eos_token_id] if x is not None}
        if not self._stop_ids:
            raise TrainingError(
                f"{self._origin} names no end token; set eos_token in tokenizer_config.json or eos_token_id in "
                "generation_config.json, else the trained model would never stop."
            )
        self._turn_end: list[int] | None = None
        self._no_thought = self._empty_thought()

    def asked(self, prompt: Chat) -> list[int]:
        """Token ids an engine is sent.

        Raises:
            TrainingError: the template refuses the turns.
        """
        try:
            return list(self._format.tokens(prompt))
        except EngineError as error:
            raise TrainingError(str(error)) from error

    def answer_text(self, ids: Sequence[int]) -> str:
        """What an engine would hand on of these generated tokens: the answer without its thought."""
        kept = [token for token in ids if token not in self._stop_ids]
        return self._format.rules.split(self._format.decode(kept)).text

    @property
    def stop_ids(self) -> frozenset[int]:
        """Ids that end a turn."""
        return self._stop_ids

    def prompt_text(self, prompt: Chat) -> str:
        """The exact text an engine is sent: rendered turns and the generation prompt.

        Raises:
            TrainingError: the template refuses the turns.
        """
        try:
            return self._format.text(prompt)
        except EngineError as error:
            raise TrainingError(str(error)) from error

    def encode(self, prompt: Chat, answers: Sequence[str]) -> EncodedChat:
        """Token ids of the prompt and of each answer, up to and with the token that ends its turn.

        An empty thought that a reasoning model's template writes before a finished answer belongs to the prompt:
        answers without a thought teach to answer, not to think no more. Answers that hold a thought are trained on as
        they are.

        A template that renders a finished answer differently from a started one (so that the prompt's text is no
        prefix of the whole) gets the bare answer and an end token.
        """
        start = self.prompt_text(prompt)
        if not any(pair.closing in answer for answer in answers for pair in self._format.rules.tags):
            start += self._no_thought
        start_ids = self._ids(start)
        return EncodedChat(start_ids, [self._answer_ids(prompt, start, start_ids, answer) for answer in answers])

    def without_end(self, answer: list[int]) -> list[int]:
        """The ids of an encoded answer without the token that ends its turn; an empty answer keeps it."""
        return answer[:-1] if len(answer) > 1 and answer[-1] in self._stop_ids else answer

    def answered(self, prompt: Chat) -> list[tuple[int, int]]:
        """Where in the prompt's token ids the assistant's own turns stand: (first, behind the last) of each.

        A turn's tokens are those an engine would have written there, the one that ends it included (GLM-4: the tag of
        the next turn).

        Raises:
            RewrittenTurnError: the template shows an earlier answer otherwise than it was written.
            TrainingError: the tokenizer does not tell which characters its tokens stand for.
        """
        if all(turn.role != "assistant" for turn in prompt):
            return []
        text = self.prompt_text(prompt)
        ids, offsets = self._ids_and_offsets(text)
        starts, spans = [start for start, _ in offsets], []
        for place, turn in enumerate(prompt):
            if turn.role != "assistant":
                continue
            begin, end = self._place_of(text, prompt[:place], turn.content.strip())
            first = bisect_left(starts, begin)
            while first < len(ids) and offsets[first][1] <= begin:  # whitespace of which nothing is left by the offsets
                first += 1
            behind = bisect_left(starts, end)
            closing = behind
            while closing < len(ids) and ids[closing] not in self._stop_ids:
                closing += 1
            if closing < len(ids) and not text[end : starts[closing]].strip():
                behind = closing + 1
            spans.append((first, behind))
        return spans

    def _place_of(self, text: str, before: Chat, content: str) -> tuple[int, int]:
        """The characters of a rendered chat in which an answer stands that follows these turns."""
        start, closed = self.prompt_text(before), self._finished(before)
        if text.startswith(start):
            found = text.find(content, len(start))
            if found >= 0 and not text[len(start) : found].strip():
                return len(start), found + len(content)
        elif text.startswith(closed) and (found := text.find(content, len(closed))) >= 0:
            # The template opens an answer to come otherwise than one that stands (Qwen3: with an empty thought).
            return found, found + len(content)
        raise RewrittenTurnError(
            f"the chat template of {self._origin} shows an earlier answer otherwise than it was written, so that it "
            "cannot be learned; set loss_turns=last"
        )

    def _answer_ids(self, prompt: Chat, start: str, start_ids: list[int], answer: str) -> list[int]:
        whole = self._finished((*prompt, Message("assistant", answer)))
        if not whole.startswith(start):
            return [*self._ids(answer), *self._end_of_turn()]
        whole_ids = self._ids(whole)
        if whole_ids[: len(start_ids)] == start_ids:
            return self._closed(whole_ids[len(start_ids) :])
        # A token straddles the border; an engine can only continue after the prompt's own tokens.
        return self._closed(self._ids(whole[len(start) :]))

    def _closed(self, ids: list[int]) -> list[int]:
        """Cut what the template writes after the end of the turn; add the end where it writes none (GLM-4)."""
        for position in range(len(ids) - 1, max(len(ids) - 1 - _CLOSING_TOKENS, -1), -1):
            if ids[position] in self._stop_ids:
                return ids[: position + 1]
        return [*ids, *self._end_of_turn()]

    def _end_of_turn(self) -> list[int]:
        """The stop token with which the template opens the turn after an answer, else the tokenizer's end token."""
        if self._turn_end is None:
            chat = (Message("user", "a"), Message("assistant", "b"))
            closed, longer = self._finished(chat), self._finished((*chat, Message("user", "c")))
            following = self._ids(longer[len(closed) :]) if longer.startswith(closed) else []
            opening = following[0] if following and following[0] in self._stop_ids else None
            candidates = (opening, self._tokenizer.eos_token_id, min(self._stop_ids))
            self._turn_end = [next(x for x in candidates if x is not None)]
        return self._turn_end

    def _empty_thought(self) -> str:
        """What stands between a prompt and an answer without a thought, where the model is one that thinks."""
        chat = (Message("user", "a"),)
        try:
            start, whole = self._format.text(chat), self._format.finished((*chat, Message("assistant", _PROBE)))
        except EngineError:
            return ""  # the chats that matter will be refused, too, and say why
        opened = self._format.opened
        if not whole.startswith(start):
            return "" if opened is None else f"\n{opened.closing}\n\n"
        between = whole[len(start) :].partition(_PROBE)[0]
        for pair in self._format.rules.tags:
            before, closing, _ = between.partition(pair.closing)
            if closing and not before.strip().removeprefix(pair.opening).strip():
                return between
        return ""

    def _finished(self, chat: Chat) -> str:
        """Rendered turns without a generation prompt."""
        try:
            return self._format.finished(chat)
        except EngineError as error:
            raise TrainingError(str(error)) from error

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def _ids_and_offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        try:
            encoded = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        except NotImplementedError as error:
            raise TrainingError(
                f"the tokenizer of {self._origin} does not tell where its tokens stand; it needs a tokenizer.json, or "
                "set loss_turns=last"
            ) from error
        return list(encoded["input_ids"]), [tuple(pair) for pair in encoded["offset_mapping"]]
