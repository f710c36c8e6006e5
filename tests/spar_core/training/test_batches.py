from spar_core.training.batches import LengthSortedSampler

LENGTHS = [9, 1, 8, 2, 7, 3, 6, 4, 5, 5]


def test_every_row_once_and_sorted_inside_each_batch() -> None:
    order = list(LengthSortedSampler(LENGTHS, 4, seed=0, epoch=lambda: 0))
    assert sorted(order) == list(range(10))
    for start in (0, 4, 8):
        lengths = [LENGTHS[row] for row in order[start : start + 4]]
        assert lengths == sorted(lengths)


def test_order_depends_on_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return list(LengthSortedSampler(LENGTHS, 4, seed, lambda: epoch))

    epoch = iter([0, 1])
    sampler = LengthSortedSampler(LENGTHS, 4, 0, lambda: next(epoch))
    assert [list(sampler), list(sampler)] == [order(0, 0), order(0, 1)]
    assert order(0, 0) != order(0, 1)
    assert order(0, 0) != order(1, 0)
