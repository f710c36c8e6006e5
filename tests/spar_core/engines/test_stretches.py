import random
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from spar_core.engines.kv_cache import DecodeStep, Stretch, ragged_attention, stretches, whole


@pytest.mark.parametrize(
    ("positions", "cut"),
    [
        ([0], [(0, 1, 16)]),
        ([15, 16], [(0, 2, 32)]),  # position 15 looks at 16 columns, 16 at 17, in steps of 16
        ([500] * 3, [(0, 3, 512)]),
        ([999, 99, 999], [(0, 1, 1008), (1, 2, 112), (2, 3, 1008)]),
        ([99, 119, 109, 999, 899], [(0, 3, 128), (3, 5, 1008)]),
    ],
)
def test_slots_of_similar_length_stay_together(positions: list[int], cut: list[tuple[int, int, int]]) -> None:
    assert stretches(np.array(positions)) == [Stretch(*part) for part in cut]


def test_stretches_cover_every_slot_and_every_position() -> None:
    draw = random.Random(0)
    for _ in range(50):
        positions = np.array([draw.randrange(2000) for _ in range(draw.randrange(1, 80))])
        found = stretches(positions)
        assert [slot for first, last, _ in found for slot in range(first, last)] == list(range(len(positions)))
        for first, last, span in found:
            assert positions[first:last].max() < span <= positions[first:last].max() + 16
        assert whole(positions) == [(0, len(positions), max(span for _, _, span in found))]


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As a batch is computed on a CPU; several threads share out the sums of a row by the shape of the whole."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("window", [None, 40])
def test_attention_is_the_same_however_the_slots_are_cut(window: int | None) -> None:
    """Rows of up to 1,300 positions: attention goes through the columns in blocks of 512.

    To the last bit only where products add up in the same order whatever their length, which not every CPU does.
    """
    torch.manual_seed(0)
    draw = random.Random(0)
    rows, length = 12, 1328
    keys, values = torch.randn(rows, 3, length, 64), torch.randn(rows, 3, length, 64)
    query = torch.randn(rows, 9, 1, 64)
    positions = np.array([draw.randrange(draw.choice((50, 600, 1300))) for _ in range(rows)])

    def attended(cut: list[Stretch]) -> torch.Tensor:
        step = DecodeStep(torch.from_numpy(positions), cut, torch.float32)
        columns = step.span
        return ragged_attention(
            torch.nn.Module(),
            query,
            keys[:, :, :columns],
            values[:, :, :columns],
            None,
            sliding_window=window,
            ragged_step=step,
        )[0]

    cut = stretches(positions)
    assert len(cut) > 2
    torch.testing.assert_close(attended(cut), attended(whole(positions)), rtol=0, atol=1e-6)
