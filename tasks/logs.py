"""What this project logs inside flows and tasks, sent to Prefect, which shows it with the run."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

LOGGERS = ("flows", "tasks", "spar_core", "storage")
"""The packages of this project."""


@contextmanager
def logs_in_prefect() -> Iterator[None]:
    """Send the log of the block to Prefect."""
    from prefect.logging.handlers import APILogHandler  # Prefect reads its settings when it is imported

    handler = APILogHandler()
    before = {name: logging.getLogger(name).level for name in LOGGERS}
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.INFO)
        logging.getLogger(name).addHandler(handler)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).removeHandler(handler)
            logging.getLogger(name).setLevel(level)
