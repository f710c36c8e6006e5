"""One finding of a check, and how checks are run."""

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple

from spar_core.errors import ConfigError, SparError

Verdict = Literal["ok", "warn", "fail"]
_log = logging.getLogger(__name__)


class Finding(NamedTuple):
    """What a check found: `detail` says what is so, `remedy` what to do where it is not well."""

    name: str
    verdict: Verdict
    detail: str
    remedy: str = ""
    misused: bool = False
    """Whether what was asked for is wrong, rather than the machine."""

    def plain(self) -> dict[str, str]:
        """JSON-like values."""
        return {"name": self.name, "verdict": self.verdict, "detail": self.detail, "remedy": self.remedy}

    @property
    def told(self) -> str:
        """Detail and remedy in one line."""
        return f"{self.detail}; {self.remedy}" if self.remedy else self.detail


def judged(name: str, look: Callable[[], str]) -> Finding:
    """Run something that raises where a thing cannot be used, with a message that says what to do."""
    try:
        return Finding(name, "ok", look())
    except SparError as error:
        return Finding(name, "fail", str(error), misused=isinstance(error, ConfigError))


def require(findings: Iterable[Finding], *, loud: bool) -> None:
    """Stop where something failed; warnings are logged, as such where `loud`.

    Raises:
        ConfigError: naming all that failed, where all of it was asked for wrongly.
        SparError: naming all that failed.
    """
    failed = [
        finding for finding in _warned(findings, logging.WARNING if loud else logging.INFO) if finding.verdict == "fail"
    ]
    kind = ConfigError if all(finding.misused for finding in failed) else SparError
    if len(failed) == 1:
        raise kind(failed[0].told)
    if failed:
        told = "".join(f"\n  {finding.name}: {finding.told}" for finding in failed)
        raise kind(f"{len(failed)} things are missing, nothing was started:{told}")


def _warned(findings: Iterable[Finding], level: int) -> Iterator[Finding]:
    for finding in findings:
        if finding.verdict == "warn":
            _log.log(level, "%s: %s", finding.name, finding.told)
        yield finding
