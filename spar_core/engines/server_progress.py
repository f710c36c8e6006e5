"""Whether a vLLM server is at work: a slow server under load is told from one that hangs by the tokens it counts."""

import time

import httpx

_COUNTED = ("vllm:generation_tokens_total", "vllm:prompt_tokens_total")
_ANSWERS_S = 10.0
_POLL_S = 0.5
_WITHIN_S = 60.0  # longer than the slowest step: a long prompt read in one piece on a CPU


def tokens_counted(address: str) -> float | None:
    """Tokens that the server at `address` (no version) has read and written so far, over all requests and copies.

    None where it does not say: it does not answer, or was started without statistics.
    """
    try:
        answer = httpx.get(f"{address}/metrics", timeout=_ANSWERS_S, trust_env=False, verify=False)
    except httpx.HTTPError:
        return None
    counts = [line.rpartition(" ")[2] for line in answer.text.splitlines() if line.startswith(_COUNTED)]
    return sum(map(float, counts)) if answer.status_code == 200 and counts else None


def is_writing(address: str, within_s: float = _WITHIN_S) -> bool:
    """Whether the server's count of tokens rises within so many seconds; returns as soon as it does."""
    before, deadline = tokens_counted(address), time.monotonic() + within_s
    while before is not None and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        now = tokens_counted(address)
        if now is not None and now > before:
            return True
    return False
