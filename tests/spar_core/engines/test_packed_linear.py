import pytest
import torch

from spar_core.engines import packed_linear
from spar_core.engines.packed_linear import PackedLinear, pack

pytestmark = pytest.mark.skipif(not packed_linear._is_possible(), reason="this torch has no oneDNN for its CPU")


def layer(bias: bool, dtype: torch.dtype = torch.float32) -> torch.nn.Linear:
    torch.manual_seed(0)
    return torch.nn.Linear(96, 160, bias=bias, dtype=dtype)


@pytest.mark.parametrize("bias", [True, False])
def test_the_product_is_that_of_the_layer_it_stands_for(bias: bool) -> None:
    linear = layer(bias)
    rows = torch.randn(3, 7, 96)
    with torch.inference_mode():
        packed = PackedLinear(linear)(rows)
        exact = torch.nn.functional.linear(
            rows.double(), linear.weight.double(), linear.bias.double() if bias else None
        )
    assert packed.shape == (3, 7, 160)
    torch.testing.assert_close(packed.double(), exact, rtol=1e-5, atol=1e-5)


def test_a_rows_product_does_not_depend_on_its_company() -> None:
    """What `slot_batch` promises; it computes eight rows and more."""
    torch.manual_seed(1)
    with torch.inference_mode():
        for width, out in ((96, 160), (576, 1536), (1536, 576)):
            packed = PackedLinear(torch.nn.Linear(width, out, bias=False))
            rows = torch.randn(300, width)
            together = packed(rows)
            for first, last in ((0, 8), (3, 12), (17, 50), (100, 164), (1, 257)):
                assert torch.equal(packed(rows[first:last].contiguous()), together[first:last])


def test_a_model_is_packed_where_its_weights_do_not_fit_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    model = torch.nn.Sequential(layer(True), torch.nn.Sequential(layer(False)), layer(True, torch.bfloat16))
    pack(model)
    assert type(model[0]) is torch.nn.Linear
    monkeypatch.setattr(packed_linear, "_LEAST_BYTES", 2 * 96 * 160 * 4)
    pack(model)
    assert [type(part) for part in (model[0], model[1][0], model[2])] == [PackedLinear, PackedLinear, torch.nn.Linear]
    assert not [name for name, _ in model.named_parameters() if name == "0.weight"]
