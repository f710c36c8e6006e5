"""How many completions the in-process engine decodes at once where nobody says it."""

from typing import Final

_ON_A_CPU: Final = 256
_ON_A_GPU: Final = 2048
_LEAST: Final = 32
_BYTES_PER_LOGIT: Final = 48  # what a draw with a nucleus holds of each: copies, a sort's values, places and workspace


def batch_rows(vocabulary: int, *, spare_bytes: float | None) -> int:
    """256 on a CPU; on a GPU up to 2048, as many as a draw over the vocabulary fits in beside keys and values.

    A step starts some thousand small computations, which takes a GPU as long for 2,048 rows as for 256: a model of
    135 M parameters on one H200 wrote 6,500, 22,600 and 50,900 tokens a second with 256, 1,024 and 2,048 rows.

    Args:
        vocabulary: entries of a row's logits.
        spare_bytes: of a GPU, beside weights, keys and values; None: a CPU.
    """
    if spare_bytes is None:
        return _ON_A_CPU
    return max(_LEAST, min(_ON_A_GPU, int(spare_bytes / (vocabulary * _BYTES_PER_LOGIT))))
