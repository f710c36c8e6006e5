"""One finding of a check, and how checks are run."""

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple

from spar_core.errors import SparError

Verdict = Literal["ok", "warn", "fail"]
_log = logging.getLogger(__name__)


class Finding(NamedTuple):
    """What a check found: `detail` says what is so, `remedy` what to do where it is not well."""

    name: str
    verdict: Verdict
    detail: str
    remedy: str = ""

    def plain(self) -> dict[str, str]:
        """JSON-like values."""
        return self._asdict()

    @property
    def message(self) -> str:
        """Detail and remedy in one line."""
        return f"{self.name}: {self.detail}" + (f"; {self.remedy}" if self.remedy else "")


def judged(name: str, look: Callable[[], str]) -> Finding:
    """Run something that raises where a thing cannot be used, with a message that says what to do."""
    try:
        return Finding(name, "ok", look())
    except SparError as error:
        return Finding(name, "fail", str(error))


def require(findings: Iterable[Finding]) -> None:
    """Stop where something failed; warnings are logged.

    Raises:
        SparError: naming all that failed.
    """
    failed = [finding for finding in _warned(findings) if finding.verdict == "fail"]
    if not failed:
        return
    text = "\n      ".join(finding.message for finding in failed)
    remark = "nothing was started; `spar doctor` checks this without running"
    raise SparError(f"{text}\n      ({remark})")


def _warned(findings: Iterable[Finding]) -> Iterator[Finding]:
    for finding in findings:
        if finding.verdict == "warn":
            _log.warning("%s", finding.message)
        yield finding
