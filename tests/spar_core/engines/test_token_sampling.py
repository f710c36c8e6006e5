import math

import numpy as np
import pytest
import torch

from spar_core.engines.token_sampling import UNUSABLE, _sampled, draw, stream_key, uniforms


def pick(logits: list[float], uniform: float, temperature: float = 1.0, top_p: float = 1.0) -> int:
    return int(
        draw(
            torch.tensor([logits]),
            torch.tensor([temperature]),
            torch.tensor([top_p]),
            torch.tensor([uniform]),
            nucleus=top_p < 1,
        )[0]
    )


LOGS = [math.log(share) for share in (0.1, 0.6, 0.3)]


@pytest.mark.parametrize(("uniform", "token"), [(0.0, 0), (0.09, 0), (0.11, 1), (0.69, 1), (0.71, 2), (0.999999, 2)])
def test_inverts_the_cumulative_distribution(uniform, token) -> None:
    assert pick(LOGS, uniform) == token


@pytest.mark.parametrize(
    ("top_p", "uniform", "token"),
    [
        (0.6, 0.999999, 1),  # the likeliest alone reaches 0.6
        (0.61, 0.99, 2),  # 0.6 is not enough, so 0.3 joins; 0.1 does not
        (0.61, 0.0, 1),
        (0.61, 0.66, 1),  # kept mass 0.9: token 1 holds up to 2/3
        (0.61, 0.67, 2),
        (0.95, 0.0, 0),
        (1e-6, 0.5, 1),  # the likeliest always stays
    ],
)
def test_nucleus_keeps_the_smallest_sufficient_set(top_p, uniform, token) -> None:
    assert pick(LOGS, uniform, top_p=top_p) == token


def test_tokens_tied_with_the_last_one_kept_stay_too() -> None:
    # 0.4, 0.2, 0.2, 0.2 at top_p 0.5: one of three equals would do, so all three stay.
    logits = [math.log(share) for share in (0.2, 0.4, 0.2, 0.2)]
    drawn = [pick(logits, uniform, top_p=0.5) for uniform in (0.1, 0.3, 0.7, 0.9)]
    assert drawn == [0, 1, 2, 3]


def test_temperature_sharpens_and_flattens() -> None:
    # Shares 1/4 and 3/4 at temperature 1/2 become 1/10 and 9/10.
    logits = [math.log(0.25), math.log(0.75)]
    assert [pick(logits, u, temperature=0.5) for u in (0.09, 0.11)] == [0, 1]
    assert [pick(logits, u, temperature=1.0) for u in (0.24, 0.26)] == [0, 1]
    assert pick(logits, 0.0, temperature=1e-6) == 1


def test_greedy_takes_the_first_of_equals() -> None:
    assert pick([1.0, 3.0, 3.0], 0.99, temperature=0.0) == 1


def test_impossible_tokens_are_never_drawn() -> None:
    impossible = -math.inf
    assert pick([impossible, 0.0, impossible], 0.0) == 1
    assert pick([impossible, 0.0, impossible], 1 - 2**-24) == 1


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_logits_that_are_not_finite_are_flagged(bad) -> None:
    assert pick([0.0, bad, 0.0], 0.5) == UNUSABLE
    assert pick([-math.inf, -math.inf], 0.5) == UNUSABLE


def test_rows_do_not_disturb_one_another() -> None:
    logits = torch.randn(50, 300, generator=torch.Generator().manual_seed(0))
    temperature = torch.tensor([0.0, 0.7] * 25)
    top_p = torch.tensor([0.9, 1.0, 0.5, 0.3, 0.95] * 10)
    uniform = torch.rand(50, generator=torch.Generator().manual_seed(1))
    together = draw(logits, temperature, top_p, uniform, nucleus=True)
    alone = [
        draw(logits[i : i + 1], temperature[i : i + 1], top_p[i : i + 1], uniform[i : i + 1], nucleus=True)[0]
        for i in range(50)
    ]
    assert together.tolist() == [int(token) for token in alone]


def test_frequencies_follow_the_distribution() -> None:
    count = 20_000
    keys = np.array([stream_key(seed, 0) for seed in range(count)], dtype=np.uint64)
    numbers = torch.from_numpy(uniforms(keys, np.zeros(count, dtype=np.int64)))
    tokens = draw(torch.tensor([LOGS]).expand(count, 3), torch.ones(count), torch.ones(count), numbers, nucleus=False)
    shares = torch.bincount(tokens, minlength=3) / count
    # Standard deviation at most sqrt(0.24 / 20000) = 0.0035; the seeds are fixed, so this cannot flake.
    assert shares.tolist() == pytest.approx([0.1, 0.6, 0.3], abs=0.012)


def test_streams_differ_by_seed_index_and_step_and_repeat() -> None:
    keys = np.array([stream_key(7, 0), stream_key(7, 1), stream_key(8, 0), stream_key(7, 0)], dtype=np.uint64)
    first, second = (uniforms(keys, np.full(4, step, dtype=np.int64)) for step in (0, 1))
    assert first[0] == first[3]
    assert len({*first[:3].tolist(), *second[:3].tolist()}) == 6
    assert first.dtype == np.float32
    assert (first >= 0).all()
    assert (first < 1).all()


def test_uniform_numbers_fill_the_unit_interval_evenly() -> None:
    key = np.full(10_000, stream_key(1, 2), dtype=np.uint64)
    tenths = np.bincount((uniforms(key, np.arange(10_000)) * 10).astype(int), minlength=10)
    # Expected 1000 each, standard deviation 30.
    assert tenths.min() > 880
    assert tenths.max() < 1120


@pytest.mark.parametrize("sharpness", [0.0, 0.5, 3.0, 12.0])
@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.9, 0.999, 1.0])
def test_a_nucleus_drawn_from_a_shortlist_is_that_of_the_whole_vocabulary(sharpness: float, top_p: float) -> None:
    torch.manual_seed(0)
    rows, vocabulary = 40, 3000
    weights = (torch.randn(rows, vocabulary) * sharpness).softmax(-1)
    weights /= weights.amax(-1, keepdim=True)
    share, uniform = torch.full((rows,), top_p), torch.rand(rows)
    share[::7] = 0.7  # rows of one batch have each their own
    best = weights.argmax(-1)
    found = _sampled(weights.clone(), share, uniform, best, nucleus=True)

    ascending = weights.double().sort(-1).values
    outside = (ascending.cumsum(-1) <= (1.0 - share.double())[:, None] * ascending.sum(-1, keepdim=True)).sum(-1)
    floor = ascending.gather(1, outside.clamp(max=vocabulary - 1)[:, None]).where(share[:, None] < 1.0, 0.0)
    mass = weights.double().masked_fill(weights.double() < floor, 0.0).cumsum(-1)
    expected = torch.searchsorted(mass, (uniform.double() * mass[:, -1])[:, None], right=True)[:, 0]
    assert (found == expected).float().mean() >= 0.95  # float32 against float64: a draw may lie on the very edge
    assert (weights.gather(1, found[:, None]) >= floor.float() * (1 - 1e-5)).all()
