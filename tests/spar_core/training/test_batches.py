from spar_core.training.batches import GroupSampler, LengthSortedSampler

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


def test_groups_are_whole_and_given_once_per_pass() -> None:
    order = list(GroupSampler(5, prompts=2, group=3, passes=2, seed=0, epoch=lambda: 0))
    assert len(order) == 2 * 2 * 3 * 2  # of five prompts two batches of two
    for start in (0, 12):
        first, again = order[start : start + 6], order[start + 6 : start + 12]
        assert first == again
        assert (len(set(first[:3])), len(set(first[3:])), len(set(first))) == (1, 1, 2)
    assert len(set(order)) == 4
    assert order != list(GroupSampler(5, 2, 3, 2, seed=0, epoch=lambda: 1))
    assert order == list(GroupSampler(5, 2, 3, 2, seed=0, epoch=lambda: 0))
