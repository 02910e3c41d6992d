"""Asking servers of the tests, on this machine and without TLS, for little processor time.

A client of httpx reads all certificate authorities when it is made, which takes 30 ms; with
`verify=NO_AUTHORITIES` it takes 0.1.
"""

from __future__ import annotations

import http.client
import ssl
import urllib.request

NO_AUTHORITIES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def answers(url: str, *, seconds: float = 5.0) -> bool:
    """Whether a GET of `url`, which begins with `http:`, is answered with 200."""
    try:
        with DIRECT.open(url, timeout=seconds) as answer:
            return int(answer.status) == 200
    except (OSError, http.client.HTTPException):
        return False
