from types import SimpleNamespace

import pytest
import torch

from spar_core.engines.batch_rows import batch_rows
from spar_core.engines.transformers_engine import _batch_rows, _cache_bytes, _free_bytes

GIB = 2**30


@pytest.mark.parametrize(
    ("vocabulary", "spare", "rows"),
    [
        (49_152, None, 256),
        (49_152, 25 * GIB, 2048),  # a card of 140 GiB
        (151_936, 4.4 * GIB, 647),  # one of 24 GiB and a small model with a large vocabulary
        (151_936, 0.0, 32),
    ],
)
def test_a_gpu_takes_as_many_rows_as_their_logits_fit(vocabulary: int, spare: float | None, rows: int) -> None:
    assert batch_rows(vocabulary, spare_bytes=spare) == rows


@pytest.mark.parametrize(
    ("free", "seats", "cache_gib", "rows"),
    [
        (100, 1, None, 2048),
        (22, 1, None, 647),  # a fifth is left
        (22, 2, None, 323),  # and shared by two engines
        (22, 1, 21.0, 147),  # or what somebody leaves
        (22, 1, 30.0, 32),
    ],
)
def test_the_rows_of_a_gpu_follow_from_what_keys_and_values_leave(monkeypatch, free, seats, cache_gib, rows) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (free * GIB, 200 * GIB))
    device, config = torch.device("cuda"), SimpleNamespace(vocab_size=151_936)
    model = SimpleNamespace(device=device, config=SimpleNamespace(get_text_config=lambda: config))
    left = _free_bytes(device, seats)
    found = _batch_rows(SimpleNamespace(model=model), left - _cache_bytes(device, cache_gib, left))
    assert found == rows
