"""The tables. Times are seconds since 1970 (UTC) by the database's clock.

Whoever imports one table knows all of this package: their foreign keys name each other.
"""

from api.store.tables import base, jobs, results, uploads, workers

__all__ = ["base", "jobs", "results", "uploads", "workers"]
