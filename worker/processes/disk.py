"""Errors of a disk, or of a bucket, that somebody can put right while a job waits."""

from __future__ import annotations

import errno

PASSING = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.EROFS)


def may_pass(error: OSError) -> bool:
    """Whether the disk is full, or away, as a bucket with any StoreError is: the same may work in
    a while."""
    return error.errno in PASSING
