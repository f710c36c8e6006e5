"""Which rows share an optimiser step, and in which order they pass through the model."""

from collections.abc import Callable, Iterator, Sequence

import torch


class LengthSortedSampler(torch.utils.data.Sampler[int]):
    """A seeded shuffle, cut into optimiser batches; inside each batch rows are ordered by length.

    A plain shuffle decides which rows share a step, so training is unchanged; micro-batches get rows of similar
    length, so little is computed on padding. The order depends on (seed, epoch) alone, hence a resumed run sees the
    same rows as an uninterrupted one.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int, epoch: Callable[[], int]) -> None:
        super().__init__()
        self._lengths = lengths
        self._batch_size = batch_size
        self._seed = seed
        # Asked at the start of each pass, not told: with several processes the loader that skips the rows which a
        # resumed epoch has seen does not reach its sampler, and the epoch would go on in the order of the first.
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + self._epoch())
        order: list[int] = torch.randperm(len(self._lengths), generator=generator).tolist()
        for start in range(0, len(order), self._batch_size):
            yield from sorted(order[start : start + self._batch_size], key=lambda row: (self._lengths[row], row))


class GroupSampler(torch.utils.data.Sampler[int]):
    """A seeded shuffle of prompts, cut into whole batches, each prompt `group` times in a row.

    A batch is given `passes` times over: TRL draws its answers at the first of them and asks for one per forward pass.
    What an epoch leaves over is in the next one's shuffle again. As with `LengthSortedSampler`, the order depends on
    (seed, epoch) alone.
    """

    def __init__(self, rows: int, prompts: int, group: int, passes: int, seed: int, epoch: Callable[[], int]) -> None:
        super().__init__()
        self._rows, self._prompts, self._group, self._passes = rows, prompts, group, passes
        self._seed = seed
        self._epoch = epoch

    def __len__(self) -> int:
        return self._rows // self._prompts * self._prompts * self._group * self._passes

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + self._epoch())
        order: list[int] = torch.randperm(self._rows, generator=generator).tolist()
        for start in range(0, self._rows - self._prompts + 1, self._prompts):
            batch = [row for row in order[start : start + self._prompts] for _ in range(self._group)]
            for _ in range(self._passes):
                yield from batch
