"""`python -m worker`, except that its training process is watched by a witness."""

from __future__ import annotations

import sys
from functools import lru_cache

from api.settings import settings
from worker import app
from worker.runner import Runner

WATCHED = (sys.executable, "-P", "-m", "tests.chaos.trainee")


@lru_cache
def runner() -> Runner:
    """The one of this process."""
    return Runner(settings(), app.wakeups().send, command=WATCHED)


if __name__ == "__main__":
    app.runner = runner
    sys.exit(app.main())
