"""Whether a server answers: asked again and again while it starts, so it must cost little.

A client of httpx reads all certificate authorities when it is made, which takes 25 ms.
"""

from __future__ import annotations

import http.client
import urllib.request

DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def answers(url: str, *, seconds: float = 5.0) -> bool:
    """Whether a GET of `url`, which begins with `http:`, is answered with 200."""
    try:
        with DIRECT.open(url, timeout=seconds) as answer:
            return int(answer.status) == 200
    except (OSError, http.client.HTTPException):
        return False
