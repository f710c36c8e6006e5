from spar_core.training.batches import LengthSortedSampler

LENGTHS = [9, 1, 8, 2, 7, 3, 6, 4, 5, 5]


def test_every_row_once_and_sorted_inside_each_batch() -> None:
    order = list(LengthSortedSampler(LENGTHS, 4, seed=0))
    assert sorted(order) == list(range(10))
    for start in (0, 4, 8):
        lengths = [LENGTHS[row] for row in order[start : start + 4]]
        assert lengths == sorted(lengths)


def test_order_depends_on_seed_and_epoch_alone() -> None:
    sampler = LengthSortedSampler(LENGTHS, 4, seed=0)
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    assert first != second
    fresh = LengthSortedSampler(LENGTHS, 4, seed=0)
    fresh.set_epoch(1)
    assert list(fresh) == second
    assert list(LengthSortedSampler(LENGTHS, 4, seed=1)) != first
