"""Training rows from Parquet to token ids; what does not fit is a recorded drop, or cut where the settings say so."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from spar_core.config.training import GrpoTrainingConfig, SftTrainingConfig
from spar_core.constraints import is_known
from spar_core.errors import TrainingError
from spar_core.records import Constraint, Drop, Message, Prompt
from spar_core.training.chat_tokens import ChatTokenizer, RewrittenTurnError
from spar_core.training.overlong import cut_pair, cut_turns
from spar_core.training.specification import TrainingSpec

_LOG = logging.getLogger(__name__)
COLUMNS = {
    "dpo": ("pair_id", "prompt", "chosen", "rejected"),
    "sft": ("example_id", "messages"),
    "grpo": ("prompt_id", "text", "constraints", "source"),
}
"""Columns read per kind: those of records.PreferencePair, or of records.GivenPair, of records.RefinerExample, and of
records.Prompt."""
_WHERE_THERE = {"dpo": ("chosen_cut", "rejected_cut")}
"""Columns read where the rows have them."""
IGNORED_LABEL = -100
"""Label of a token that carries no loss (torch's default `ignore_index`)."""


class TokenRows(NamedTuple):
    """Rows ready for TRL.

    dpo: prompt_ids, chosen_ids, rejected_ids; sft: input_ids, labels (`IGNORED_LABEL` but in the turns learned); grpo:
    prompt_ids, and `prompts` has what they ask, row by row.
    """

    rows: list[dict[str, list[int]]]
    dropped: tuple[Drop, ...]
    prompts: tuple[Prompt, ...] = ()


def read_rows(kind: str, files: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Rows of the Parquet files in order, only the columns that training reads.

    Raises:
        TrainingError: a file is missing, is no Parquet, lacks a column, or a value is null.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    for file in files:
        try:
            there = [name for name in _WHERE_THERE.get(kind, ()) if name in pq.read_schema(file).names]
            table = pq.read_table(file, columns=[*COLUMNS[kind], *there], partitioning=None)
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


class _Row(NamedTuple):
    """One row's columns, and how many tokens it had before anything was cut."""

    columns: dict[str, list[int]]
    length: int


def tokenise(spec: TrainingSpec, chat: ChatTokenizer, max_tokens: int) -> TokenRows:
    """Token ids of all rows; of one with more than `max_tokens` tokens (prompt and answer) the setting `overlong`
    decides whether it is dropped or cut.

    Raises:
        TrainingError: unreadable data, no row at all, or none that fits.
    """
    if isinstance(spec.config, GrpoTrainingConfig):
        return _questions(spec, spec.config, chat, max_tokens - spec.config.max_tokens)
    limit = max_tokens if spec.config.overlong == "truncate" else None
    id_column = COLUMNS[spec.kind][0]
    rows, dropped, cut = [], [], 0
    for record in read_rows(spec.kind, spec.data_files):
        try:
            if isinstance(spec.config, SftTrainingConfig):
                row = _sft_row(chat, record, spec.config.loss_turns, limit)
            else:
                row = _dpo_row(chat, record, limit, spec.config.ends)
        except RewrittenTurnError as error:
            dropped.append(Drop(spec.label, record[id_column], "rewritten_turn", str(error)))
            continue
        if row is None or (limit is None and row.length > max_tokens):
            detail = "nothing to learn is left of it" if row is None else f"{row.length} tokens"
            dropped.append(Drop(spec.label, record[id_column], "too_long", f"{detail}, at most {max_tokens}"))
        else:
            cut += row.length > max_tokens
            rows.append(row.columns)
    if cut:
        _LOG.warning("%d of %d rows were cut to %d tokens (overlong: truncate)", cut, len(rows), max_tokens)
    if not rows and not dropped:
        raise TrainingError(
            f"No rows to train on in {', '.join(map(str, spec.data_files))}; "
            "look at the drops of the stage that made them."
        )
    if not rows and (others := [drop.detail for drop in dropped if drop.reason != "too_long"]):
        raise TrainingError(
            f"None of {len(dropped)} rows can be trained on, {len(others)} of them because {others[0]}."
        )
    if not rows:
        raise TrainingError(f"All {len(dropped)} rows are longer than {max_tokens} tokens; raise max_length.")
    return TokenRows(rows, tuple(dropped))


def _questions(spec: TrainingSpec, config: GrpoTrainingConfig, chat: ChatTokenizer, room: int) -> TokenRows:
    """Prompts that hold constraints and whose tokens are at most `room`; a question is never cut.

    Raises:
        TrainingError: unreadable data, or fewer prompts than a step takes.
    """
    rows, dropped, prompts = [], [], []
    for record in read_rows(spec.kind, spec.data_files):
        constraints = tuple(Constraint(each["kind"], each["kwargs"]) for each in record["constraints"])
        ids = chat.asked((Message("user", record["text"]),))
        if not constraints and spec.judge is None:
            dropped.append(Drop(spec.label, record["prompt_id"], "no_constraints", "nothing says what it is worth"))
        elif spec.judge is None and (strange := [each.kind for each in constraints if not is_known(each.kind)]):
            dropped.append(Drop(spec.label, record["prompt_id"], "unknown_constraint", ", ".join(strange)))
        elif len(ids) > room:
            dropped.append(Drop(spec.label, record["prompt_id"], "too_long", f"{len(ids)} tokens, at most {room}"))
        else:
            rows.append({"prompt_ids": ids})
            prompts.append(Prompt(record["prompt_id"], record["text"], constraints, source=record["source"]))
    if not rows:
        lost = ", ".join(f"{count} {reason}" for reason, count in Counter(drop.reason for drop in dropped).items())
        raise TrainingError(
            f"No prompt to train on ({lost or 'there are none'}): rewards need prompts whose constraints code can "
            "check (prompts.source=verifiable, or a file whose prompts hold some), short enough for max_length - "
            "max_tokens."
        )
    if len(rows) < (needed := config.batch_size // config.group):
        raise TrainingError(f"{len(rows)} prompts are fewer than the {needed} of a step; lower batch_size.")
    return TokenRows(rows, tuple(dropped), tuple(prompts))


def _dpo_row(chat: ChatTokenizer, record: dict[str, Any], limit: int | None, ends: str) -> _Row | None:
    asked = record["prompt"]
    turns = (Message("user", asked),) if isinstance(asked, str) else tuple(Message(**turn) for turn in asked)
    encoded = chat.encode(turns, [record["chosen"], record["rejected"]])
    chosen, rejected = (
        ids if _learns_end(ends, side, record.get(f"{side}_cut")) else chat.without_end(ids)
        for side, ids in zip(("chosen", "rejected"), encoded.answers, strict=True)
    )
    length = len(encoded.prompt) + max(len(chosen), len(rejected))
    prompt = encoded.prompt
    if limit is not None and length > limit:
        prompt, chosen, rejected = cut_pair(prompt, chosen, rejected, limit)
        if chosen == rejected:
            return None
    return _Row({"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected}, length)


def _learns_end(ends: str, side: str, cut: bool | None) -> bool:
    """Whether a text of a pair is learned with the token that ends an answer, as `training.actor.ends` says."""
    return ends == "all" or (not cut and ends in ("whole", side))


def _sft_row(chat: ChatTokenizer, record: dict[str, Any], loss_turns: str, limit: int | None) -> _Row | None:
    *turns, last = (Message(turn["role"], turn["content"]) for turn in record["messages"])
    if last.role != "assistant" or not turns:
        raise TrainingError(
            f"Example {record['example_id']} must end with an assistant message that follows at least one other; "
            f"its roles are {[turn['role'] for turn in record['messages']]}."
        )
    prompt = tuple(turns)
    encoded = chat.encode(prompt, [last.content])
    ids = encoded.prompt + encoded.answers[0]
    learned = [*(chat.answered(prompt) if loss_turns == "all" else ()), (len(encoded.prompt), len(ids))]
    length = len(ids)
    if limit is not None and length > limit:
        ids, learned = cut_turns(ids, learned, limit)
    labels = [IGNORED_LABEL] * len(ids)
    for begin, end in learned:
        labels[begin:end] = ids[begin:end]
    return _Row({"input_ids": ids, "labels": labels}, length) if learned else None
