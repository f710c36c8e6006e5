"""Drawing tokens: each draw depends on (seed, sample index, step) and the logits of its row, on nothing else.

The uniform numbers come from a counter-based generator (SplitMix64), so a row may be computed in any
batch, stopped and resumed without changing its draws.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_MANTISSA_SHIFT = np.uint64(40)  # keeps 24 bits: every float32 in [0, 1) that is a multiple of 2**-24
_ROUNDING = 1e-3  # more than float32 sums can be wrong by
UNUSABLE = -1

Keys = npt.NDArray[np.uint64]


def stream_key(seed: int, index: int) -> np.uint64:
    """Key of the random stream of sample `index` of a request with `seed`."""
    with np.errstate(over="ignore"):
        first = _mix(np.array([seed % 2**64], dtype=np.uint64) + _GOLDEN)
        return np.uint64(_mix(first ^ (np.uint64(index + 1) * _GOLDEN))[0])


def uniforms(keys: Keys, steps: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """One number in [0, 1) per row: the draw of stream `keys[i]` at step `steps[i]`."""
    bits = _mix(keys + (steps.astype(np.uint64) + np.uint64(1)) * _GOLDEN)
    return (bits >> _MANTISSA_SHIFT).astype(np.float32) * np.float32(2.0**-24)


def draw(
    logits: torch.Tensor,
    temperature: torch.Tensor,
    top_p: torch.Tensor,
    uniform: torch.Tensor,
    *,
    nucleus: bool,
    sampled: bool = True,
) -> torch.Tensor:
    """Token ids, int64 [rows]; `UNUSABLE` where a row's logits are not finite.

    Temperature and nucleus are applied in float32. The nucleus keeps the smallest set of most likely
    tokens whose mass reaches `top_p`; tokens as likely as the least likely one kept stay too, so ties do
    not depend on a sort's order. The token is found by inverting the cumulative distribution in order of
    token id.

    Args:
        logits: [rows, vocabulary], any float type.
        temperature: float32 [rows]; 0 takes the most likely token (the lowest id among equals).
        top_p: float32 [rows].
        uniform: float32 [rows] in [0, 1).
        nucleus: whether any row has `top_p` < 1 (known on the host, so that no device sync is needed).
        sampled: whether any row has a temperature above 0 (likewise).
    """
    scores = logits.float()
    peak = scores.amax(-1, keepdim=True)
    token = _first_peak(scores, peak)
    if sampled:
        greedy = temperature == 0
        weights = (scores - peak).div_(torch.where(greedy, 1.0, temperature)[:, None]).exp_()
        token = torch.where(greedy, token, _sampled(weights, top_p, uniform, token, nucleus=nucleus))
    return token.masked_fill(~torch.isfinite(peak[:, 0]), UNUSABLE)


def _sampled(
    weights: torch.Tensor, top_p: torch.Tensor, uniform: torch.Tensor, best: torch.Tensor, *, nucleus: bool
) -> torch.Tensor:
    """Token ids, int64 [rows], drawn in proportion to weights [rows, vocabulary], which are at most 1."""
    listed = _Listed(weights)
    if nucleus:
        # A GPU sorts everything faster than it would tell the host how many tokens a list needs.
        listed = _shortlist(weights, top_p) if weights.device.type == "cpu" else listed
        listed = listed._replace(weights=listed.weights.masked_fill(listed.weights < _nucleus_floor(listed, top_p), 0))
    mass = listed.weights.cumsum(-1)
    target = (uniform * mass[:, -1])[:, None]
    # The first entry whose cumulative mass exceeds the target has positive weight itself; rounding may leave
    # none, and then the likeliest token is right as good as surely.
    place = torch.searchsorted(mass, target, right=True)
    found = place < mass.shape[1]
    place = place.clamp_(max=mass.shape[1] - 1)
    token = place if listed.tokens is None else listed.tokens.gather(1, place)
    return torch.where(found, token, best[:, None])[:, 0]


class _Listed(NamedTuple):
    """Tokens that may be drawn.

    Fields:
        weights: float32 [rows, listed], in order of token id, zeros behind the last.
        tokens: their ids, int64 [rows, listed]; None: the whole vocabulary.
        rest: float64 [rows, 1], weights of all others together; None: there are no others.
    """

    weights: torch.Tensor
    tokens: torch.Tensor | None = None
    rest: torch.Tensor | None = None


def _shortlist(weights: torch.Tensor, top_p: torch.Tensor) -> _Listed:
    """The tokens that may be in the nucleus; to sort a whole vocabulary would take longer than all the rest.

    Tokens below an even share of the mass that stays outside are outside, all of them together.
    """
    each, rows = weights.numpy(), len(weights)
    total = each.sum(-1, dtype=np.float64)
    outside = (1.0 - top_p.numpy()) * total * (1.0 - _ROUNDING)
    likely = ~(each < (outside / each.shape[1]).astype(np.float32)[:, None])  # weights that are no number stay
    counts, places = np.count_nonzero(likely, axis=-1), np.flatnonzero(likely)
    kept = each.reshape(-1)[places]
    inside = np.add.reduceat(kept, np.cumsum(counts) - counts, dtype=np.float64)
    filled = np.arange(counts.max()) < counts[:, None]
    listed, tokens = np.zeros(filled.shape, np.float32), np.zeros(filled.shape, np.int64)
    listed[filled], tokens[filled] = kept, places - np.repeat(np.arange(rows) * each.shape[1], counts)
    return _Listed(*map(torch.from_numpy, (listed, tokens, (total - inside)[:, None])))


def _nucleus_floor(listed: _Listed, top_p: torch.Tensor) -> torch.Tensor:
    """Smallest weight that stays, [rows, 1]: the weights below it sum to at most 1 - top_p of the row."""
    ascending = _sorted(listed.weights)
    if listed.rest is None:
        below = ascending.cumsum(-1)
    else:
        below = (ascending.cumsum(-1, dtype=torch.float64) + listed.rest).float()
    limit = (1.0 - top_p)[:, None] * below[:, -1:]
    first_kept = torch.searchsorted(below, limit, right=True).clamp_(max=ascending.shape[1] - 1)
    floor = ascending.gather(1, first_kept)
    return torch.where(top_p[:, None] >= 1.0, 0.0, floor)


def _sorted(weights: torch.Tensor) -> torch.Tensor:
    if weights.device.type == "cpu":
        # numpy's vectorised sort of values is 30 times faster here than torch.sort, which also tracks indices.
        return torch.from_numpy(np.sort(weights.numpy(), axis=-1))
    return torch.sort(weights, dim=-1).values


def _first_peak(scores: torch.Tensor, peak: torch.Tensor) -> torch.Tensor:
    if scores.device.type == "cpu":
        return torch.from_numpy(scores.numpy().argmax(-1))
    return (scores == peak).to(torch.int8).argmax(-1)


def _mix(state: Keys) -> Keys:
    state = (state ^ (state >> np.uint64(30))) * _MIX_1
    state = (state ^ (state >> np.uint64(27))) * _MIX_2
    return state ^ (state >> np.uint64(31))
