"""Lines of a log that say what a long stage is at."""

import io
import time
from types import SimpleNamespace

from rich.console import Console

from flows.showing import heartbeat
from flows.showing.heartbeat import Heartbeat, Pace
from flows.showing.terminal import TerminalReporter, progress_console


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_stage_is_told_of_seldom_and_with_its_pace_since_the_last_time() -> None:
    clock, said, written = Clock(), list[str](), 5_000
    beating = Heartbeat(said.append, clock)
    beating.started("iteration 1  responses", 4, lambda: Pace(written, 128))
    told: list[tuple[int, str]] = []
    for second in range(1, 1600):
        clock.now += 1
        written += 100 if second <= 300 else 50
        if second == 200:
            beating.advanced("iteration 1  responses", 1)
        beating.beat()
        told += [(second, line) for line in said]
        said.clear()
    assert [second for second, _ in told] == [60, 300, 900, 1500]
    lines = [line for _, line in told]
    assert all(line.startswith("iteration 1  responses") for line in lines)
    assert "1 min, 0 of 4 parts, 100 tokens/s written, 128 requests out" in lines[0]
    assert "5 min, 1 of 4 parts, 100 tokens/s" in lines[1]
    assert "15 min, 1 of 4 parts, 50 tokens/s" in lines[2]
    beating.ended("iteration 1  responses")
    clock.now += 10_000
    beating.beat()
    assert said == []


def test_a_training_says_its_step_and_nothing_of_tokens() -> None:
    clock, said = Clock(), list[str]()
    beating = Heartbeat(said.append, clock)
    beating.started("train_actor", 1, lambda: Pace(700, 0))
    beating.trained("train_actor", "step 20, loss 0.7312")
    clock.now += 61
    beating.beat()
    assert [line.split(maxsplit=1) for line in said] == [["train_actor", "1 min, step 20, loss 0.7312"]]


def test_what_is_late_is_said_once() -> None:
    clock, said = Clock(), list[str]()
    beating = Heartbeat(said.append, clock)
    beating.started("trees", 1, lambda: Pace(0, 0))
    clock.now += 7200  # the machine slept
    beating.beat()
    beating.beat()
    assert len(said) == 1


def test_a_log_gets_the_lines_and_a_terminal_its_bar(monkeypatch) -> None:
    monkeypatch.setattr(heartbeat, "_FIRST_S", (0.05, 300.0))
    monkeypatch.setattr(heartbeat, "_LOOK_S", 0.02)
    call = SimpleNamespace(stage="responses", iteration=1, run_id="r", surroundings=None, title="responses")
    for is_terminal in (False, True):
        written = io.StringIO()
        reporter = TerminalReporter(
            Console(file=written, force_terminal=is_terminal, width=120), pace=lambda _call: Pace(0, 7)
        )
        with reporter.showing():
            reporter.stage_started(call, 2)
            deadline = time.monotonic() + 30
            while not is_terminal and "7 requests out" not in written.getvalue() and time.monotonic() < deadline:
                time.sleep(0.02)
            reporter.stage_failed(call, ValueError())
        assert ("7 requests out" in written.getvalue()) is not is_terminal


def test_a_line_of_a_log_is_not_broken(capsys) -> None:
    progress_console().print("iteration 1  responses " + "word " * 60, highlight=False)
    assert capsys.readouterr().err.count("\n") == 1
