"""How the limit of one server follows its refusals. Moments are seconds of a clock that the tests turn."""

import pytest

from spar_core.engines.throttle import Throttle, Ticket


def throttle(most: int = 256) -> Throttle:
    return Throttle(most, first_pause_s=0.5, longest_pause_s=60.0, step_s=0.1)


def fill(server: Throttle, now: float) -> list[Ticket]:
    """Send as long as there is room."""
    tickets = []
    while server.has_room(now):
        tickets.append(server.granted(now))
    for _ in tickets:
        server.sent(now)
    return tickets


def send(server: Throttle, now: float) -> Ticket:
    ticket = server.granted(now)
    server.sent(now)
    return ticket


# A step lasts 0.1 s and 2 ms for each of its requests.


def test_a_step_waits_until_all_its_requests_are_sent() -> None:
    server = throttle()
    while server.has_room(0.0):
        server.granted(0.0)
    for _ in range(7):
        server.sent(0.0)
    assert (server.has_room(9.0), server.opens_at(9.0)) == (False, None)
    server.sent(9.0)
    assert (server.has_room(9.11), server.opens_at(9.0)) == (False, pytest.approx(9.116))
    assert server.has_room(9.117)


def test_a_server_is_opened_in_steps_that_double() -> None:
    server = throttle(50)
    moments = (0.0, 0.11, 0.12, 0.25, 0.26, 0.42, 0.43, 9.0)
    assert [len(fill(server, moment)) for moment in moments] == [8, 0, 8, 0, 16, 0, 18, 0]
    assert server.opens_at(9.0) is None  # full: only an answer makes room


def test_the_next_step_is_known() -> None:
    server = throttle()
    fill(server, 3.0)
    assert server.opens_at(3.02) == pytest.approx(3.116)


def test_a_refusal_pauses_and_leaves_what_the_server_bears() -> None:
    server = throttle()
    tickets = fill(server, 0.0)
    for ticket in tickets[:2]:
        server.refused(ticket, 0.0, 0.01)
    # 8 were tried and 6 stay: 0.8 of them, which is as much as half of what was tried.
    assert (server.in_flight, server.limit) == (6, 4)
    assert server.is_paused(0.50)
    assert server.opens_at(0.1) == pytest.approx(0.51)


def test_one_request_tries_after_a_pause_then_ever_more() -> None:
    server = throttle()
    tickets = fill(server, 0.0)
    server.refused(tickets[0], 1.0, 0.01)
    assert not server.has_room(1.0)
    server.limit = 100
    assert [len(fill(server, moment)) for moment in (1.02, 1.13, 1.24, 1.35)] == [1, 1, 2, 4]


def test_a_door_that_stays_shut_lengthens_the_pause_and_not_the_limit() -> None:
    server = throttle()
    for ticket in fill(server, 0.0):
        server.refused(ticket, 0.0, 0.01)
    limit, now, pauses = server.limit, 0.01, []
    for _ in range(8):
        opens = server.opens_at(now)
        assert opens is not None
        pauses.append(round(opens - now, 3))
        now = opens + 0.001
        assert server.has_room(now)
        server.refused(send(server, now), 0.0, now)
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0]
    assert server.limit == limit == 4


@pytest.mark.parametrize(("asked", "pause"), [(0.0, 0.5), (7.0, 7.0), (3600.0, 60.0)])
def test_the_servers_own_pause_is_obeyed_and_bounded(asked: float, pause: float) -> None:
    server = throttle()
    server.refused(send(server, 0.0), asked, 0.0)
    assert server.opens_at(0.0) == pause


def test_late_refusals_of_one_burst_may_lengthen_the_pause_but_halve_once() -> None:
    server = throttle()
    tickets = fill(server, 0.0)
    server.refused(tickets[0], 1.0, 0.0)
    server.refused(tickets[1], 5.0, 0.0)
    server.refused(tickets[2], 2.0, 0.0)
    assert server.opens_at(0.0) == 5.0
    for ticket in tickets[3:]:
        server.refused(ticket, 0.0, 0.1)
    assert server.limit == 4


def test_refusals_of_no_more_than_was_borne_only_pause() -> None:
    server = throttle(20)
    tickets = fill(server, 0.0) + fill(server, 0.2) + fill(server, 0.4)
    for ticket in reversed(tickets):
        server.answered(ticket)
    # 20 were borne. Three times 16 are asked and one of them is refused; what counts as borne shrinks to 16, then 12.8.
    limits = []
    for now in (1.0, 2.0, 3.0):
        sixteen = [send(server, now) for _ in range(16)]
        server.refused(sixteen.pop(), 0.1, now)
        limits.append(server.limit)
        while sixteen:
            server.in_flight -= 1
            sixteen.pop()
    assert limits == [20, 20, 12]


def grown(server: Throttle, answers: int) -> int:
    for _ in range(answers):
        ticket = Ticket(0, 0.0, 0)
        while server.in_flight < server.limit:
            ticket = send(server, 100.0)
        server.answered(ticket)
    return server.limit


def test_answers_of_a_full_server_raise_the_limit_slower_after_each_refusal() -> None:
    server = throttle()
    for ticket in fill(server, 0.0)[:4]:
        server.refused(ticket, 0.0, 0.0)
    assert server.limit == 4
    # One refusal: a rise takes two rounds of 4 answers, so does the next; then, as the first held, one round of 6.
    assert [grown(server, 7), grown(server, 1)] == [4, 5]
    assert [grown(server, 9), grown(server, 1)] == [5, 6]
    assert [grown(server, 5), grown(server, 1)] == [6, 7]


def test_the_limit_never_exceeds_what_is_allowed() -> None:
    server = throttle(4)
    server.refused(send(server, 0.0), 0.0, 0.0)
    server.limit = 1
    assert grown(server, 200) == 4


def test_time_outs_halve_once_per_burst_without_a_pause() -> None:
    server = throttle()
    tickets = fill(server, 0.0)
    for ticket in tickets:
        server.timed_out(ticket)
    assert (server.limit, server.in_flight, server.is_paused(0.0)) == (4, 0, False)
    assert server.has_room(0.0)


def test_the_time_without_any_answer_is_known() -> None:
    server = throttle()
    assert server.refused_since is None
    for moment in (3.0, 4.0):
        server.refused(send(server, moment), 0.0, moment)
    assert server.refused_since == 3.0
    server.answered(send(server, 5.0))
    assert server.refused_since is None
