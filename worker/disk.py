"""Errors of a disk that somebody can put right while a job waits."""

from __future__ import annotations

import errno

PASSING = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.EROFS)


def may_pass(error: OSError) -> bool:
    """Whether the disk is full, or away: the same may work in a while."""
    return error.errno in PASSING
