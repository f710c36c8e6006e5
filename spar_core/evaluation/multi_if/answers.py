"""Files of answers to chats: a row per turn (`key`, `turn`, `response`) or per chat (`key`, `responses`)."""

from collections.abc import Iterator
from pathlib import Path

from spar_core.errors import DataError
from spar_core.evaluation.ifeval_rows import Answer
from spar_core.evaluation.multi_if.dataset import Chats, turn_key
from spar_core.evaluation.row_files import BAD_ROW, FileRow, LeftOut, read_rows


def read_turn_answers(path: Path, chats: Chats, left_out: LeftOut | None = None) -> Iterator[Answer]:
    """Answers matched to the turns they answer, one row in memory at a time.

    `left_out`: takes bad rows instead of an error.

    Raises:
        DataError: naming file and line: wrong columns, unknown chat or turn, second answer to a turn.
    """
    answered: dict[int, str] = {}
    for row in read_rows(path, left_out):
        try:
            answers = list(_answers(row, chats))
            for answer in answers:
                (position,) = answer.positions
                if position in answered:
                    key, first = chats.prompts.prompts[position].key, answered[position]
                    raise row.fail(f"second answer to turn {key!r} (the first is in {first}); keep one")
        except DataError as error:
            if left_out is None:
                raise
            left_out.add(row.where, BAD_ROW, str(error))
            continue
        answered.update((answer.positions[0], row.where) for answer in answers)
        yield from answers


def _answers(row: FileRow, chats: Chats) -> Iterator[Answer]:
    chat = row.text("key")
    if chat not in chats.languages:
        raise row.fail(f"key {chat!r:.60} is no chat of the data; give the data these answers were made for")
    if "responses" not in row.values:
        if "response" not in row.values:
            raise row.fail(f"a row needs 'turn' and 'response', or 'responses'; this one has {sorted(row.values)}")
        yield _answer(
            row, chats, row.integer("turn"), row.optional_text("response"), row.optional_text("finish_reason")
        )
        return
    texts = row.values["responses"]
    if not isinstance(texts, list) or not all(text is None or isinstance(text, str) for text in texts):
        raise row.fail(f"column 'responses' must be a list of texts, one per turn, not {texts!r:.60}")
    for turn, text in enumerate(texts, 1):
        yield _answer(row, chats, turn, text, None)


def _answer(row: FileRow, chats: Chats, turn: int, text: str | None, finish_reason: str | None) -> Answer:
    position = chats.prompts.by_key.get(turn_key(row.text("key"), turn))
    if position is None:
        raise row.fail(f"chat {row.text('key')!r} has no turn {turn}")
    return Answer(row.where, (position,), text, finish_reason)
