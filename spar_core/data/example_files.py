"""The user's own supervised examples: JSON lines or Parquet rows of chat messages."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, cast, get_args

from spar_core.errors import DataError
from spar_core.hashing import content_id
from spar_core.records import Message, ModelRole, RefinerExample, Role

Kind = Literal["judgement", "refinement", "answer", "replay"]


def read_examples(path: Path, role: ModelRole) -> Iterator[RefinerExample]:
    """Examples from JSONL or Parquet rows {"messages": [{role, content}, ...], "kind"?: ...}.

    Raises:
        DataError: naming the file, the line and what is expected.
    """
    for line, row in _rows(path):
        messages = _messages(row, f"{path}:{line}")
        kind = row.get("kind") or ("answer" if role == "actor" else "judgement")
        if kind not in get_args(Kind):
            raise DataError(f"{path}:{line}: kind {kind!r} is unknown; allowed: {', '.join(get_args(Kind))}")
        yield RefinerExample(content_id("example", messages), cast(Kind, kind), path.name, messages)


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    if not path.is_file():
        raise DataError(f"warm-start file {path} does not exist; set warm_start.actor_file / refiner_file")
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        for line, row in enumerate(pq.read_table(path).to_pylist(), start=1):
            yield line, row
        return
    with path.open(encoding="utf-8", errors="strict") as handle:
        try:
            for line, text in enumerate(handle, start=1):
                if text.strip():
                    yield line, _object(text, f"{path}:{line}")
        except UnicodeDecodeError as error:
            raise DataError(f"{path} is not UTF-8 ({error}); convert it and run again") from error


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(text)
    except ValueError as error:
        raise DataError(f"{where}: not JSON ({error})") from error
    if not isinstance(row, dict):
        raise DataError(f"{where}: expected a JSON object, found {type(row).__name__}")
    return row


def _messages(row: dict[str, Any], where: str) -> tuple[Message, ...]:
    turns = row.get("messages")
    wellformed = (
        isinstance(turns, list)
        and len(turns) >= 2
        and all(
            isinstance(t, dict) and t.get("role") in get_args(Role) and isinstance(t.get("content"), str) for t in turns
        )
        and turns[-1]["role"] == "assistant"
    )
    if not wellformed or turns is None:
        raise DataError(f"{where}: needs messages: [{{role, content}}, ...], at least two turns, the last by assistant")
    return tuple(Message(turn["role"], turn["content"]) for turn in turns)
