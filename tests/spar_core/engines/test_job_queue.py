import threading

from spar_core.engines.base import GenerationRequest, Sampling
from spar_core.engines.job_queue import Job, JobQueue
from spar_core.engines.slot_table import Row
from spar_core.records import Message

SAMPLING = Sampling(1.0, 1.0, 8)


def job(rows: int) -> Job:
    made = Job(GenerationRequest((Message("user", "a"),), SAMPLING, 0, rows), 1)
    made.rows = [Row(made, index, (1,), SAMPLING, 8, 0) for index in range(rows)]
    return made


def sizes(queue: JobQueue, batch: int, load: int) -> list[int]:
    handed = queue.take(batch, load)
    assert handed is not None
    return [len(taken.rows) for taken in handed.jobs]


def test_batches_take_even_shares_in_order() -> None:
    queue = JobQueue(2, room=100)
    for rows in (1, 2, 3, 4):
        assert queue.put(job(rows))
    assert sizes(queue, 0, 0) == [1, 2, 3]  # ten rows, five each; a job is not cut in two
    assert sizes(queue, 1, 0) == [4]


def test_a_batch_takes_no_more_than_it_has_room_for() -> None:
    queue = JobQueue(2, room=4)
    for _ in range(20):
        queue.put(job(1))
    assert sizes(queue, 0, 0) == [1, 1, 1, 1]
    assert sizes(queue, 0, 4) == []
    assert sizes(queue, 0, 3) == [1]
    assert sizes(queue, 1, 0) == [1, 1, 1, 1]


def test_a_batch_that_holds_much_leaves_what_comes_to_the_other() -> None:
    queue = JobQueue(2, room=100)
    queue.put(job(6))
    assert sizes(queue, 0, 0) == [6]
    queue.put(job(2))
    assert sizes(queue, 0, 6) == []
    assert sizes(queue, 1, 0) == [2]


def test_every_batch_hears_what_nobody_waits_for_once() -> None:
    queue, first, second = JobQueue(2, room=4), job(1), job(1)
    queue.put(first)
    queue.put(second)
    queue.forget(first)
    for batch in (0, 1):
        handed = queue.take(batch, 1)
        assert handed is not None
        assert handed.unwanted == [first]
        again = queue.take(batch, 1)
        assert again is not None
        assert again.unwanted == []


def test_a_cancelled_job_is_handed_to_nobody() -> None:
    queue, gone = JobQueue(1, room=4), job(1)
    queue.put(gone)
    gone.answer.cancel()
    queue.put(job(2))
    assert sizes(queue, 0, 0) == [2]


def test_closing_wakes_who_waits_and_gives_back_what_was_not_taken() -> None:
    queue, told = JobQueue(2, room=4), []
    waiting = threading.Thread(target=lambda: told.append(queue.take(1, 0)))
    waiting.start()
    left = job(5)
    assert queue.close("broke") == []
    waiting.join(30)
    assert told == [None]
    assert not queue.put(left)
    assert (queue.closed, queue.broken) == (True, "broke")
    queue.close("later")
    assert queue.broken == "broke"  # the first cause is the cause

    other = JobQueue(1, room=4)
    other.put(left)
    assert other.close() == [left]
