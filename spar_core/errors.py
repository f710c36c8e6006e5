"""One error type per boundary; every message says what to do next."""


class SparError(Exception):
    """Base of every error a user can cause or mend; the command line prints it without a traceback."""


class ConfigError(SparError):
    """The configuration is unknown, out of range or contradictory (exit code 2)."""


class DataError(SparError):
    """Input data is missing, malformed or inconsistent."""


class EngineError(SparError):
    """A model server or in-process model could not answer."""


class NothingAnsweredError(EngineError):
    """The engine refused every request of a stage, which therefore has no result."""


class RequestRejectedError(EngineError):
    """The engine has no answer to this one request (prompt too long, HTTP 4xx, empty choice).

    Callers turn it into a recorded drop: `reason` is a short stable slug for the drop ledger. `permanent` says that
    the request's own content is the reason, so that asking again is no use; else a rerun asks again.
    """

    def __init__(self, message: str, reason: str = "request_rejected", permanent: bool = True) -> None:
        super().__init__(message)
        self.reason = reason
        self.permanent = permanent


class EngineUnavailableError(EngineError):
    """The engine did not answer after all retries; the stage stops and a rerun resumes it."""


class FruitlessError(SparError):
    """The loop makes nothing worth training on: too little of what the models write can be used.

    The message counts the causes and says what to change; nothing that is finished is lost.
    """


class BudgetError(SparError):
    """A run has spent what it may; nothing that is finished is lost, and a higher limit goes on."""


class TrainingError(SparError):
    """A training subprocess failed; the message names its log."""


class StorageError(SparError):
    """An artifact, journal or registry could not be read or written."""
