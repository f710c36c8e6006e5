"""A row's numbers do not depend on its company: the reason why shards may be computed together or apart."""

from pathlib import Path

import pytest
import torch
from torch.nn import Linear, Module
from torch.nn.functional import linear

from spar_core.engines import slot_batch
from spar_core.engines.base import Sampling
from spar_core.engines.least_rows import least_rows
from spar_core.engines.model_folder import load_model
from spar_core.engines.slot_batch import Limits, SlotBatch
from spar_core.engines.slot_table import Row
from spar_core.starter import base_model_dir

STEPS = 12


@pytest.fixture
def one_core():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def first_logits(folder: Path, company: int, monkeypatch) -> list[torch.Tensor]:
    """What the first row's tokens are drawn from, with so many other rows in the batch."""
    loaded = load_model(folder, torch.device("cpu"), "float32")
    seen: list[torch.Tensor] = []
    drawing = slot_batch.draw

    def noted(logits: torch.Tensor, *arguments, **options) -> torch.Tensor:
        seen.append(logits[0].clone())
        return drawing(logits, *arguments, **options)

    batch = SlotBatch(
        loaded.model,
        end_tokens=[-1],
        limits=Limits(64, 2**28, 4096),
        cache_dtype=loaded.cache_dtype,
        bytes_per_position=loaded.bytes_per_position,
    )
    # Equally long prompts: the first row stays the first.
    batch.add([Row(None, 0, tuple(range(n, n + 40)), Sampling(), STEPS + 1, n) for n in range(5, 6 + company)])
    with monkeypatch.context() as patch, torch.inference_mode():
        patch.setattr(slot_batch, "draw", noted)
        for _ in range(STEPS):
            batch.advance()
    return seen


@pytest.mark.usefixtures("one_core")
@pytest.mark.parametrize("company", [8, 11, 40])
def test_the_starters_numbers_are_the_same_alone_and_in_company(company: int, monkeypatch) -> None:
    alone = first_logits(base_model_dir(), 0, monkeypatch)
    assert len(alone) == STEPS
    others = first_logits(base_model_dir(), company, monkeypatch)
    assert [torch.equal(*pair) for pair in zip(alone, others, strict=True)] == [True] * STEPS


class Layered(Module):
    """A model as far as it is looked at."""

    def __init__(self, *layers: Linear, device: str = "cpu") -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(layers)
        self.device = torch.device(device)


@pytest.mark.usefixtures("one_core")
def test_from_so_many_rows_on_products_have_the_same_bits() -> None:
    layer = Linear(384, 128, bias=False)
    rows = torch.randn(64, 384)
    whole = linear(rows, layer.weight)
    least = least_rows(Layered(layer))
    assert all(torch.equal(linear(rows[:count], layer.weight), whole[:count]) for count in range(least, 64))


def test_it_leaves_the_number_of_threads_and_the_random_numbers_alone() -> None:
    model = Layered(Linear(24, 40))
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    least_rows(model)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    "model", [Layered(), Layered(Linear(384, 128).bfloat16()), Layered(Linear(384, 128), device="meta")]
)
def test_what_is_not_looked_at_takes_the_fewest(model: Layered) -> None:
    assert least_rows(model) == 8
