import pytest
import torch

from spar_core.engines import packed_linear
from spar_core.engines.packed_linear import PackedLinear, fits_halves, pack

pytestmark = pytest.mark.skipif(not packed_linear._is_possible(), reason="this torch has no oneDNN for its CPU")


def layer(bias: bool, dtype: torch.dtype = torch.float32) -> torch.nn.Linear:
    torch.manual_seed(0)
    return torch.nn.Linear(96, 160, bias=bias, dtype=dtype)


def stored_in_16_bits(linear: torch.nn.Linear) -> torch.nn.Linear:
    linear.weight.data = linear.weight.data.bfloat16().float()
    return linear


HALVES = pytest.mark.parametrize(
    "halves",
    [False, pytest.param(True, marks=pytest.mark.skipif(
        "fbgemm" not in torch.backends.quantized.supported_engines, reason="this torch has no FBGEMM for its CPU"
    ))],
)  # fmt: skip


@HALVES
@pytest.mark.parametrize("bias", [True, False])
def test_the_product_is_that_of_the_layer_it_stands_for(bias: bool, halves: bool) -> None:
    linear = stored_in_16_bits(layer(bias))
    rows = torch.randn(3, 7, 96)
    with torch.inference_mode():
        packed = PackedLinear(linear, halves=halves)(rows)
        exact = torch.nn.functional.linear(
            rows.double(), linear.weight.double(), linear.bias.double() if bias else None
        )
    assert packed.shape == (3, 7, 160)
    torch.testing.assert_close(packed.double(), exact, rtol=1e-5, atol=1e-5)


@HALVES
def test_a_rows_product_does_not_depend_on_its_company(halves: bool) -> None:
    """What `slot_batch` promises; it computes eight rows and more."""
    torch.manual_seed(1)
    with torch.inference_mode():
        for width, out in ((96, 160), (576, 1536), (1536, 576)):
            packed = PackedLinear(stored_in_16_bits(torch.nn.Linear(width, out, bias=False)), halves=halves)
            rows = torch.randn(300, width)
            together = packed(rows)
            for first, last in ((0, 8), (3, 12), (17, 50), (100, 164), (1, 257)):
                assert torch.equal(packed(rows[first:last].contiguous()), together[first:last])


def test_a_model_is_packed_where_its_weights_do_not_fit_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    model = torch.nn.Sequential(layer(True), torch.nn.Sequential(layer(False)), layer(True, torch.bfloat16))
    pack(model)
    assert type(model[0]) is torch.nn.Linear
    monkeypatch.setattr(packed_linear, "LARGE_MODEL", 2 * 96 * 160 * 4)
    pack(model)
    assert [type(part) for part in (model[0], model[1][0], model[2])] == [PackedLinear, PackedLinear, torch.nn.Linear]
    assert not [name for name, _ in model.named_parameters() if name == "0.weight"]


def test_16_bits_hold_what_is_stored_in_them_and_no_other_weights() -> None:
    assert fits_halves(torch.tensor([1.0, -0.3]).bfloat16().float())
    assert fits_halves(torch.tensor([2.0**-20 + 2.0**-27]))  # beneath its normal numbers, within 3e-8
    assert not fits_halves(torch.tensor([1.0, 0.3]))
    assert not fits_halves(torch.tensor([1e6]).bfloat16().float())  # beyond its largest number
    assert not fits_halves(torch.tensor([float("nan")]))


@pytest.mark.parametrize(("widest", "expected"), [("AVX2", True), ("AVX512", False), ("DEFAULT", False)])
def test_weights_that_16_bits_hold_are_kept_in_them_where_that_is_faster(
    monkeypatch: pytest.MonkeyPatch, widest: str, expected: bool
) -> None:
    if "fbgemm" not in torch.backends.quantized.supported_engines:
        pytest.skip("this torch has no FBGEMM for its CPU")
    monkeypatch.setattr(packed_linear, "LARGE_MODEL", 1)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: widest)
    fitting, other = torch.nn.Sequential(stored_in_16_bits(layer(True))), torch.nn.Sequential(layer(True))
    pack(fitting)
    pack(other)
    assert fitting[0].halves is expected
    assert not other[0].halves
