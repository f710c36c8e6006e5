"""What the FollowBench judge is asked, and how its answer is read (protocol section 5)."""

import ast
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from spar_core.errors import DataError
from spar_core.evaluation.followbench.dataset import JUDGED_CATEGORIES, FollowBench, FollowBenchItem, Language
from spar_core.evaluation.judge_prompts import fill, judge_text
from spar_core.records import Message

_ZERO_WORDS = {
    "en": frozenset({"NO", "PARTIAL", "MAYBE", "UNKNOWN", "N/A"}),
    "zh": frozenset({"NO", "PARTIAL", "PARTIALLY", "MAYBE", "UNKNOWN"}),
}
_STRAIGHT_QUOTES = str.maketrans("“”", '""')
_MAX_LIST_CHARACTERS = 20_000  # a list of five words; beyond this the text only costs parsing time


class Verdict(NamedTuple):
    """How far an answer meets its L constraints: `hard` is 1 if all are met, `soft` the share met."""

    hard: int
    soft: float


class JudgeTexts(NamedTuple):
    """What a judge is asked with: the whole, one step of the instruction, and the opening of each category."""

    whole: str
    step: str
    openings: Mapping[str, str]


def judge_texts(language: Language, folder: Path | None = None) -> JudgeTexts:
    """This project's wording, or the files of the same names in a folder: `followbench_LANG.txt`, `..._step.txt` and
    `..._openings.txt` (a line `CATEGORY: TEXT` each).

    Raises:
        DataError: a file is missing or not in form; names it.
    """
    name = f"followbench_{language}"
    whole, step, openings = (judge_text(f"{name}{part}", folder) for part in ("", "_step", "_openings"))
    lines = dict(line.split(": ", 1) for line in openings.splitlines() if ": " in line)
    missing = [category for category in JUDGED_CATEGORIES if category not in lines]
    if missing:
        raise DataError(f"{name}_openings.txt has no line '{missing[0]}: TEXT'; every judged category needs one")
    return JudgeTexts(whole, step, lines)


def has_judge_texts(language: Language, folder: Path) -> bool:
    """Whether a folder words the judge's request in this language."""
    return (folder / f"followbench_{language}.txt").is_file()


def judge_messages(
    bench: FollowBench, item: FollowBenchItem, answer: str, texts: JudgeTexts | None = None
) -> tuple[Message, ...]:
    """The chat that asks a judge about one answer: one user turn, order of parts the protocol's, wording ours unless
    `texts` brings another."""
    level, path = item.key.level, bench.path_to(item)
    whole, step_text, openings = texts or judge_texts(bench.language)
    constraints = _constraints(level, bench.language)
    steps = [
        fill(
            step_text,
            {"constraints": _constraints(step.key.level, bench.language), "instruction": step.instruction},
        )
        for step in path[1:]
    ]
    fields = {
        "opening": fill(openings[item.key.category], {"constraints": constraints}),
        "initial": path[0].instruction,
        "steps": "\n\n".join(steps),
        "constraints": constraints,
        "answer": answer,
        "count": str(level),
        "plural": "" if level == 1 else "s",
    }
    return (Message("user", fill(whole, fields)),)


def _constraints(count: int, language: Language) -> str:
    if language == "zh":
        return f" {count} 条约束"
    return f"{count} constraint" if count == 1 else f"{count} constraints"


def parse_judge(text: str, level: int, language: Language) -> Verdict | None:
    """Read a judge's text; None where it is not in form (the reference then asks for repair by hand).

    Only the last line counts. Level 1 looks for the word YES, then NO, anywhere in it; higher levels need
    a Python list of words, read as a literal and never executed.
    """
    line = _last_line(text, language)
    if level == 1:
        if "YES" in line:
            return Verdict(1, 1.0)
        return Verdict(0, 0.0) if "NO" in line else None
    words = _word_list(line, language)
    if words is None:
        return None
    if language == "zh":
        words = words[:level]
    if len(words) != level or not all(
        isinstance(word, str) and (word == "YES" or word in _ZERO_WORDS[language]) for word in words
    ):
        return None
    met = sum(word == "YES" for word in words)
    return Verdict(int(met == level), met / level)


def _last_line(text: str, language: Language) -> str:
    if language == "zh":
        trimmed = text.translate(_STRAIGHT_QUOTES).strip("`").strip(" ").strip("\n")
        return trimmed.rpartition("\n")[2].strip(" ")
    return text.strip("`").strip().rpartition("\n")[2]


def _word_list(line: str, language: Language) -> Sequence[object] | None:
    start, end = line.find("["), line.rfind("]")
    if start < 0 or end < start or end - start > _MAX_LIST_CHARACTERS:
        return None
    literal = line[start : end + 1]
    if language == "zh" and "'" not in literal and '"' not in literal:
        literal = literal.replace("YES", "'YES'").replace("NO", "'NO'")
    try:
        value = ast.literal_eval(literal)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return value if isinstance(value, list) else None
