"""Every way in which a training can fail, each with a code, a message and a remedy.

TrainingError
 ├── UserConfigError    user_config     the specification cannot work
 ├── DataError          data            the data set cannot be read or used
 ├── DivergedError      diverged        the loss became NaN or infinite
 ├── SilentNetworkError silent_network  a layer never fires, so nothing can be learnt
 ├── OutOfMemoryError   out_of_memory   the device has too little memory
 ├── TimeLimitError     time_limit      max_runtime_seconds has passed
 ├── StalledError       stalled         the training made no progress for too long
 ├── WorkerLostError    worker_lost     the machine went away too often
 └── InternalError      internal        a defect of ours
"""

from __future__ import annotations

from typing import ClassVar, Literal

ErrorCode = Literal[
    "user_config",
    "data",
    "diverged",
    "silent_network",
    "out_of_memory",
    "time_limit",
    "stalled",
    "worker_lost",
    "internal",
]


class TrainingError(Exception):
    """A training that cannot go on. `str(error)` says what happened, `hint` what to change."""

    code: ClassVar[ErrorCode] = "internal"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UserConfigError(TrainingError):
    """The specification cannot work."""

    code = "user_config"


class DataError(TrainingError, ValueError):
    """The data set cannot be read, or does not hold what it should."""

    code = "data"


class DivergedError(TrainingError):
    """The loss became NaN or infinite."""

    code = "diverged"


class SilentNetworkError(TrainingError):
    """A layer never fires, so that no gradient passes it."""

    code = "silent_network"


class OutOfMemoryError(TrainingError):
    """The device has too little memory for the specification."""

    code = "out_of_memory"

    def __init__(self, message: str, *, hint: str = "", samples: int | None = None) -> None:
        """`samples` is how many to try at once; None where fewer would not help."""
        super().__init__(message, hint=hint)
        self.samples = samples


class TimeLimitError(TrainingError):
    """`max_runtime_seconds` has passed."""

    code = "time_limit"


class StalledError(TrainingError):
    """The training made no progress for longer than its pace explains."""

    code = "stalled"


class WorkerLostError(TrainingError):
    """The machine that trained went away too often."""

    code = "worker_lost"


class InternalError(TrainingError):
    """A defect of the service itself."""

    code = "internal"


class NetworkError(ValueError):
    """The network cannot take such images, or would not convert; says what to change."""

    def __init__(self, message: str, *, pointer: str = "/network") -> None:
        """`pointer` is the JSON pointer to the field of the specification that is wrong."""
        super().__init__(message)
        self.pointer = pointer
