"""`python -m worker`."""

import sys

from saf.imports import uncollected

with uncollected():
    from worker.app import main

sys.exit(main())
