"""The fleet's simulation: figures that follow by hand from its few rules, and that nothing is lost on the way."""

import pytest
import simpy
from pydantic import ValidationError

from benchmarks.fleet_simulation.__main__ import PAPER, SMALL
from benchmarks.fleet_simulation.fleet import Fleet
from benchmarks.fleet_simulation.replica import Replica, Request
from benchmarks.fleet_simulation.scenario import Scenario, Service
from benchmarks.fleet_simulation.tree_shapes import Ask, Shape, recorded

SERVICE = Service(rows=2, step_s=1.0, row_step_s=0.5, prompt_token_s=0.1)
"""A step takes 1.5 s with one row and 2 s with both."""
CHAIN: Shape = ((Ask("rewrite", 1),), (Ask("vote", 1),))


def answered_at(
    *requests: tuple[float, tuple[int, ...]], service: Service = SERVICE, speed: float = 1.0
) -> list[float]:
    """When each request (asked at, tokens of its rows), all with prompts of ten tokens, is answered by one replica."""
    env = simpy.Environment()
    ends = [0.0] * len(requests)
    replica = Replica(env, service, 1, speed, lambda request: request.answered())

    def ask(number: int, at: float, lengths: tuple[int, ...]):
        yield env.timeout(at)
        replica.ask(Request(10, lengths, 0, lambda: ends.__setitem__(number, env.now)))

    for number, (at, lengths) in enumerate(requests):
        env.process(ask(number, at, lengths))
    env.run()
    return ends


def test_rows_share_the_steps_of_a_batch_and_wait_for_one_another_s_prompts():
    assert answered_at((0, (4,))) == [pytest.approx(1 + 4 * 1.5)]
    assert answered_at((0, (4,)), speed=0.5) == [pytest.approx(2 * (1 + 4 * 1.5))]
    assert answered_at((0, (3, 3))) == [pytest.approx(1 + 3 * 2)]  # one prompt for both rows
    # Both prompts, three steps of 2 s, then one of 1.5 s.
    assert answered_at((0, (4,)), (0, (3,))) == [pytest.approx(2 + 3 * 2 + 1.5), pytest.approx(2 + 3 * 2)]


def test_a_full_batch_lets_the_next_row_in_when_one_ends():
    # The third has its place after 2 + 2 * 2 s, reads for 1 s, and shares two steps with the first.
    first, second, third = answered_at((0, (4,)), (0, (2,)), (0, (3,)))
    assert second == pytest.approx(6)
    assert first == pytest.approx(6 + 1 + 2 * 2)
    assert third == pytest.approx(first + 1.5)


def test_what_a_dead_replica_was_writing_is_lost_and_can_be_asked_again():
    env = simpy.Environment()
    done: list[float] = []
    replica = Replica(env, SERVICE, 1, 1.0, lambda request: request.answered())
    request = Request(10, (2, 6), 0, lambda: done.append(env.now))
    replica.ask(request)
    env.run(until=9.0)  # read 1 s, two steps of 2 s, two of 1.5 s, and the half of a third
    assert replica.drop(lambda request: True) == [request]
    assert (replica.lost, replica.written, done) == (2 + 4, 0, [])
    replica.ask(request)
    env.run()
    assert done == [pytest.approx(9 + 1 + 2 * 2 + 4 * 1.5)]
    assert replica.written == 8


def small(**parts: object) -> Scenario:
    values = Scenario.of_file(SMALL).model_dump()
    for part, changed in {"method": {"prompts": 40}, **parts}.items():
        values[part] |= changed
    for texts in values["texts"].values():
        texts["spread"] = 0.0
    return Scenario.model_validate(values)


def test_an_iteration_asks_for_everything_whatever_dies():
    shapes = [CHAIN]
    requests = 40 * (1 + 5) + 40 * 2
    calm = Fleet(small(), 4, 0, shapes).run()
    assert (calm.requests, calm.lost) == (requests, 0)
    assert calm.tokens == 40 * 5 * 40 + 40 * 5 * 5 * 40 + 40 * (60 + 40)  # answers, votes on them, trees
    trouble = {
        "failures_per_gpu_hour": 400.0,
        "restart_s": 2.0,
        "failures_per_worker_hour": 400.0,
        "worker_restart_s": 2.0,
    }
    harmed = Fleet(small(trouble=trouble), 4, 0, shapes).run()
    assert harmed.requests == requests
    assert harmed.lost > 0
    assert harmed.tokens == calm.tokens  # the same answers in the end
    assert harmed.makespan_s > calm.makespan_s


def test_one_event_loop_bounds_a_large_fleet_and_several_do_not():
    driving = {"request_cpu_s": 0.05, "shard_size": 5, "parallel_shards": 8}
    one = Fleet(small(driving=driving), 16, 0, [CHAIN]).run()
    assert one.makespan_s > one.requests * 0.05
    four = Fleet(small(driving={**driving, "gpus_per_worker": 4}), 16, 0, [CHAIN]).run()
    assert four.requests == one.requests
    assert four.makespan_s < one.makespan_s / 2


@pytest.mark.parametrize("driving", [{"shard_size": 20}, {"shard_size": 20, "gpus_per_worker": 2}])
def test_a_slice_of_a_fleet_has_the_figures_of_all_of_it(driving):
    many = {"method": {"prompts": 160}, "driving": driving}
    whole = Fleet(small(**many), 8, 0, [CHAIN]).run()
    sliced = Fleet(small(**many).model_copy(update={"slice": 4}), 8, 0, [CHAIN]).run()
    assert (sliced.requests, sliced.tokens) == (whole.requests, whole.tokens)
    assert sliced.makespan_s == pytest.approx(whole.makespan_s, rel=0.15)
    assert sliced.fill == pytest.approx(whole.fill, abs=0.1)
    assert sliced.driver_busy == pytest.approx(whole.driver_busy, rel=0.2)


def test_trees_have_the_shapes_of_the_real_search():
    """Without a YES: 3 rewrites of the root, 3 of each of the beam's two, three deep: 15, all judged."""
    (never,) = set(recorded(3, 5, 0.0, 0))
    assert [len(asks) for asks in never] == [1, 3, 2, 6, 2, 6]
    assert sum(ask.rows for asks in never for ask in asks if ask.kind == "rewrite") == 15
    assert set(recorded(3, 5, 1.0, 0)) == {((Ask("rewrite", 3),), (Ask("vote", 5),) * 3)}


def test_scenarios_can_be_changed_and_say_what_is_wrong():
    paper = Scenario.of_file(PAPER, ["method.prompts=1000", "grain=2"])
    assert (paper.method.prompts, paper.grain) == (1000, 2)
    assert paper.variant("a worker per 10 GPUs").driving.gpus_per_worker == 10
    with pytest.raises(ValidationError, match=r"service\.rowz"):
        Scenario.of_file(PAPER, ["service.rowz=3"])
