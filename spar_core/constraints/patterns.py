"""Search with regular expressions that come from data: the results of `re`, in bounded time.

A keyword of a benchmark or of a user is a regular expression (IFEval's rule), so it may be one that
backtracks for years. A pattern whose worst case is small runs in this process; any other runs in a
child process with a limit on its processor time, which gives the same answer or `CheckTimeoutError`.
"""

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from spar_core.errors import DataError

CPU_SECONDS = 2
_WALL_SECONDS = 30.0
_DIRECT_STEPS = 10_000_000
_METACHARACTERS = frozenset("\\.^$*+?{}[]|()")
_UNBOUNDED = frozenset("*+{")
_QUANTIFIED_GROUP = re.compile(r"\)[*+?{]")
_BACK_REFERENCE = re.compile(r"\\[1-9]|\(\?(?!:)")

Task = Literal["search", "count"]

_CHILD = """
import json, re, sys
try:
    import resource
    resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv[1]), int(sys.argv[1])))
except ImportError:
    pass
task, source, flags, text = json.loads(sys.stdin.buffer.read().decode("utf-8", "surrogatepass"))
pattern = re.compile(source, flags)
answer = int(pattern.search(text) is not None) if task == "search" else sum(1 for _ in pattern.finditer(text))
print(answer)
"""


class CheckTimeoutError(DataError):
    """A check did not finish in its time: the instruction has no verdict for this response."""

    reason = "check_timeout"


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled pattern and what is known of its worst case (see `prepare`)."""

    source: str
    compiled: re.Pattern[str]
    literal: str | None
    unbounded: int
    factor: int
    nested: bool

    def found(self, text: str, lowered: str | None = None) -> bool:
        """Whether the pattern occurs in `text`; `lowered` is `text.lower()` if the caller has it.

        Raises:
            CheckTimeoutError: the search exceeded its processor time.
        """
        if self.literal is not None and text.isascii():
            return self.literal in self._comparable(text, lowered)
        if self._runs_here(len(text)):
            return self.compiled.search(text) is not None
        return bool(_in_child("search", self.source, self.compiled.flags, text))

    def occurrences(self, text: str, lowered: str | None = None) -> int:
        """Number of non-overlapping matches.

        Raises:
            CheckTimeoutError: the search exceeded its processor time.
        """
        if self.literal is not None and text.isascii():
            return self._comparable(text, lowered).count(self.literal)
        if self._runs_here(len(text)):
            return sum(1 for _ in self.compiled.finditer(text))
        return _in_child("count", self.source, self.compiled.flags, text)

    def _comparable(self, text: str, lowered: str | None) -> str:
        if not self.compiled.flags & re.IGNORECASE:
            return text
        return text.lower() if lowered is None else lowered

    def _runs_here(self, length: int) -> bool:
        return not self.nested and self.factor * (length + 1) ** (self.unbounded + 1) <= _DIRECT_STEPS


@lru_cache(maxsize=4096)
def prepare(source: str, flags: int = 0) -> Pattern:
    """Compile a pattern and bound its backtracking from its text.

    Without repeated groups, back-references and look-around a search tries at most
    length^(1 + unbounded quantifiers) x 2^(optional items) x (alternatives) positions; the count of
    metacharacters bounds these from above. Everything else is treated as unbounded.

    Raises:
        DataError: the source is no valid regular expression.
    """
    try:
        compiled = re.compile(source, flags)
    except (re.error, OverflowError, RecursionError) as error:
        raise DataError(f"{source!r} is not a valid regular expression: {error}") from error
    plain = not any(character in _METACHARACTERS for character in source)
    foldable = source.isascii() or not flags & re.IGNORECASE
    literal = (source.lower() if flags & re.IGNORECASE else source) if plain and foldable else None
    unbounded = sum(character in _UNBOUNDED for character in source)
    factor = int(2 ** min(source.count("?"), 40) * (1 + source.count("|")))
    nested = bool(_QUANTIFIED_GROUP.search(source) or _BACK_REFERENCE.search(source))
    return Pattern(source, compiled, literal, unbounded, factor, nested)


def _in_child(task: Task, source: str, flags: int, text: str) -> int:
    payload = json.dumps([task, source, flags & ~re.UNICODE, text], ensure_ascii=False)
    command = [sys.executable, "-I", "-S", "-c", _CHILD, str(CPU_SECONDS)]
    try:
        done = subprocess.run(
            command, input=payload.encode("utf-8", "surrogatepass"), capture_output=True, timeout=_WALL_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise _timed_out(source) from error
    if done.returncode != 0:
        raise _timed_out(source)
    return int(done.stdout)


def _timed_out(source: str) -> CheckTimeoutError:
    shown = source if len(source) <= 80 else source[:77] + "..."
    return CheckTimeoutError(
        f"the pattern {shown!r} needs more than {CPU_SECONDS} s of processor time on this text; "
        "write it without nested repetition"
    )
