import pytest

from spar_core.engines.batch_rows import batch_rows

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
