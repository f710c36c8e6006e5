"""Training rows from Parquet to token ids; what does not fit is a recorded drop, never cut."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from spar_core.errors import TrainingError
from spar_core.records import Drop, Message
from spar_core.training.chat_tokens import ChatTokenizer
from spar_core.training.specification import TrainingSpec

COLUMNS = {"dpo": ("pair_id", "prompt", "chosen", "rejected"), "sft": ("example_id", "messages")}
"""Columns read per kind: those of records.PreferencePair, or of records.GivenPair, and of records.RefinerExample."""
IGNORED_LABEL = -100
"""Label of a token that carries no loss (torch's default `ignore_index`)."""


class TokenRows(NamedTuple):
    """Rows ready for TRL.

    dpo: prompt_ids, chosen_ids, rejected_ids; sft: input_ids, labels (`IGNORED_LABEL` up to the last answer).
    """

    rows: list[dict[str, list[int]]]
    dropped: tuple[Drop, ...]


def read_rows(kind: str, files: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Rows of the Parquet files in order, only the columns that training reads.

    Raises:
        TrainingError: a file is missing, is no Parquet, lacks a column, or a value is null.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    for file in files:
        try:
            table = pq.read_table(file, columns=list(COLUMNS[kind]), partitioning=None)
        except (OSError, pa.ArrowException) as error:
            raise TrainingError(
                f"Cannot read training data {file}: {error}. It must be a Parquet file with columns {COLUMNS[kind]}."
            ) from error
        missing = [name for name in COLUMNS[kind] if name not in table.column_names]
        if missing:
            raise TrainingError(f"Training data {file} has no column {missing}; {kind} needs {COLUMNS[kind]}.")
        holes = [name for name in COLUMNS[kind] if table.column(name).null_count]
        if holes:
            raise TrainingError(f"Training data {file} has null values in {holes}; every row needs all of them.")
        yield from table.to_pylist()


def tokenise(spec: TrainingSpec, chat: ChatTokenizer, max_tokens: int) -> TokenRows:
    """Token ids of all rows; a row with more than `max_tokens` tokens (prompt and answer) is dropped.

    Raises:
        TrainingError: unreadable data, no row at all, or none that fits.
    """
    encode = _dpo_row if spec.kind == "dpo" else _sft_row
    id_column = COLUMNS[spec.kind][0]
    rows, dropped = [], []
    for record in read_rows(spec.kind, spec.data_files):
        row, length = encode(chat, record)
        if length > max_tokens:
            detail = f"{length} tokens, at most {max_tokens}"
            dropped.append(Drop(spec.label, record[id_column], "too_long", detail))
        else:
            rows.append(row)
    if not rows and not dropped:
        raise TrainingError(
            f"No rows to train on in {', '.join(map(str, spec.data_files))}; "
            "look at the drops of the stage that made them."
        )
    if not rows:
        raise TrainingError(f"All {len(dropped)} rows are longer than {max_tokens} tokens; raise max_length.")
    return TokenRows(rows, tuple(dropped))


def _dpo_row(chat: ChatTokenizer, record: dict[str, Any]) -> tuple[dict[str, list[int]], int]:
    asked = record["prompt"]
    turns = (Message("user", asked),) if isinstance(asked, str) else tuple(Message(**turn) for turn in asked)
    encoded = chat.encode(turns, [record["chosen"], record["rejected"]])
    chosen, rejected = encoded.answers
    row = {"prompt_ids": encoded.prompt, "chosen_ids": chosen, "rejected_ids": rejected}
    return row, len(encoded.prompt) + max(len(chosen), len(rejected))


def _sft_row(chat: ChatTokenizer, record: dict[str, Any]) -> tuple[dict[str, list[int]], int]:
    *prompt, last = (Message(turn["role"], turn["content"]) for turn in record["messages"])
    if last.role != "assistant" or not prompt:
        raise TrainingError(
            f"Example {record['example_id']} must end with an assistant message that follows at least one other; "
            f"its roles are {[turn['role'] for turn in record['messages']]}."
        )
    encoded = chat.encode(tuple(prompt), [last.content])
    answer = encoded.answers[0]
    row = {"input_ids": encoded.prompt + answer, "labels": [IGNORED_LABEL] * len(encoded.prompt) + answer}
    return row, len(row["input_ids"])
