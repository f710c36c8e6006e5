"""What every command that runs a flow needs around it: the home held, a Prefect server, progress, flows attended."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from flows.serving.prefect_server import running_server
from spar_core.errors import SparError
from storage.home import Home
from tasks.runtime import Runtime


@contextmanager
def session(home: Home, label: str, *, quiet: bool) -> Iterator[None]:
    """Run flows inside the block. Import them there: Prefect reads its settings when it is imported.

    The home is held before a server is started, so that a second run on it fails at once and touches nothing.

    Raises:
        StorageError: another process holds the home.
        SparError: the Prefect server does not start or stops answering.
    """
    runtime = Runtime.of(str(home.root))
    try:
        with runtime.held(), running_server(home) as server:
            from prefect.exceptions import Abort

            from flows.showing.terminal import terminal_reporter, warnings_told
            from flows.wiring.runs import attended

            try:
                with (
                    terminal_reporter(runtime, server.ui_url, label, quiet=quiet),
                    errors_told_once(),
                    warnings_told(),
                    attended(home, "command"),
                ):
                    yield
            except Abort as error:  # how flows hand on what interrupted them
                raise KeyboardInterrupt from error
    except httpx.HTTPError as error:
        raise SparError(
            f"the Prefect server stopped answering ({type(error).__name__}: {error}); run again: finished work is kept"
        ) from error


@contextmanager
def errors_told_once() -> Iterator[None]:
    """Keep Prefect from printing what ends a run, with its traceback: it is raised, and the command line says it.

    Prefect's server still gets the whole of it.
    """
    from prefect.logging.configuration import ensure_logging_setup
    from prefect.logging.handlers import PrefectConsoleHandler

    ensure_logging_setup()  # else the first flow does it, too late
    console = [handler for handler in logging.getLogger().handlers if isinstance(handler, PrefectConsoleHandler)]
    for handler in console:
        handler.addFilter(_is_no_end_of_a_run)
    try:
        yield
    finally:
        for handler in console:
            handler.removeFilter(_is_no_end_of_a_run)


def _is_no_end_of_a_run(record: logging.LogRecord) -> bool:
    return record.levelno < logging.ERROR or not record.name.startswith(("prefect.flow_runs", "prefect.task_runs"))
