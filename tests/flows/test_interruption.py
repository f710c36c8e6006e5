"""Ctrl-C at whatever moment."""

import signal
import threading

import pytest

from flows import cli
from tasks.runtime import Runtime


def test_a_second_ctrl_c_within_the_first_does_not_wait_for_it(tmp_path):
    runtime = Runtime.of(str(tmp_path))

    def interrupted_while_interrupting():
        with runtime.interrupted._cond, pytest.raises(KeyboardInterrupt):  # what `Event.set` holds
            cli._interrupt(signal.SIGINT, None)

    try:
        process = threading.Thread(target=interrupted_while_interrupting, daemon=True)
        process.start()
        process.join(10)
        assert not process.is_alive()
        assert runtime.interrupted.wait(10)
    finally:
        del Runtime._by_home[str(tmp_path)]
