"""`python -m worker`, except that the training process is the trainee."""

import sys
from functools import lru_cache
from pathlib import Path

from api.settings import settings
from worker import app
from worker.runner import Runner


@lru_cache
def runner() -> Runner:
    command = (sys.executable, str(Path(__file__).with_name("trainee.py")))
    return Runner(settings(), app.wakeups().send, command=command, leave=app.leave)


if __name__ == "__main__":
    app.runner = runner
    sys.exit(app.main())
