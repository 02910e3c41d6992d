"""Errors of a disk, or of a bucket, that can be repaired while a job waits."""

from __future__ import annotations

import errno

PASSING = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.EROFS)


def may_pass(error: OSError) -> bool:
    """Whether an error may pass: a full or missing disk, or a bucket's StoreError."""
    return error.errno in PASSING
