"""A provider that does what the test says: signs whatever it is told to, or answers anything."""

from __future__ import annotations

import base64
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from joserfc import jwt
from joserfc.jwk import ECKey, Key, KeySet, RSAKey

Claims = dict[str, Any]


class Forger:
    """Its keys, what it says of itself, and what it puts into an ID token."""

    def __init__(self) -> None:
        self.first = RSAKey.generate_key(2048, {"kid": "first", "use": "sig"})
        self.keys: list[Key] = [self.first]
        self.nonce = ""  # of the sign-in that is under way
        self.claims: Claims = {}  # instead of the right ones; None: without it
        self.sign: Callable[[Claims], str] = self.signed
        self.said: dict[str, Any] = {}  # of itself, instead of what is right
        self.answers: dict[str, tuple[int, bytes]] = {}  # by path, instead of what is right
        self.forms: list[dict[str, str]] = []  # that the token endpoint got
        self.asked: list[str] = []
        self.delay = 0.0

    def reset(self) -> None:
        """What is right."""
        self.claims, self.said, self.answers = {}, {}, {}
        self.sign = self.signed
        self.delay = 0.0

    @property
    def issuer(self) -> str:
        return self.address

    def signed(self, claims: Claims, *, header: Claims | None = None, key: Any = None) -> str:
        """An ID token by the newest key."""
        key = key or self.keys[-1]
        alg = "ES256" if key.key_type == "EC" else "RS256"
        head = {"alg": alg, "kid": key.kid, **(header or {})}
        return jwt.encode(head, claims, key, algorithms=["RS256", "ES256"])

    def unsigned(self, claims: Claims) -> str:
        """With `alg: none`."""
        parts = ({"alg": "none", "kid": "first"}, claims)
        return ".".join(encoded(json.dumps(part).encode()) for part in parts) + "."

    def by_public_key(self, claims: Claims) -> str:
        """By HMAC with the text of the public key, which everybody knows, for the password."""
        parts = ({"alg": "HS256", "kid": "first"}, claims)
        text = ".".join(encoded(json.dumps(part).encode()) for part in parts)
        public = self.first.as_pem(private=False)
        return f"{text}.{encoded(hmac.digest(public, text.encode(), 'sha256'))}"

    def by_another(self, claims: Claims) -> str:
        """By a key of somebody else that bears the name of the right one."""
        return self.signed(claims, key=RSAKey.generate_key(2048, {"kid": "first"}))

    def token(self) -> str:
        now = int(time.time())
        claims = {
            "iss": self.issuer, "aud": "public", "sub": "sub-of-mia", "nonce": self.nonce,
            "iat": now, "exp": now + 300, "preferred_username": "mia", **self.claims,
        }  # fmt: skip
        return self.sign({name: each for name, each in claims.items() if each is not None})

    def description(self) -> dict[str, Any]:
        at = {name: f"{self.issuer}/{name}" for name in ("authorize", "token", "keys", "me")}
        return {
            "issuer": self.issuer,
            "authorization_endpoint": at["authorize"],
            "token_endpoint": at["token"],
            "jwks_uri": at["keys"],
            "userinfo_endpoint": at["me"],
            "id_token_signing_alg_values_supported": ["RS256", "ES256", "HS256", "none"],
            **self.said,
        }

    def answer(self, path: str) -> tuple[int, bytes]:
        self.asked.append(path)
        time.sleep(self.delay)
        if path in self.answers:
            return self.answers[path]
        found: dict[str, Callable[[], Any]] = {
            "/.well-known/openid-configuration": self.description,
            "/keys": lambda: KeySet(self.keys).as_dict(),
            "/token": lambda: {
                "access_token": "a",
                "token_type": "Bearer",
                "id_token": self.token(),
            },
            "/me": lambda: {"sub": "sub-of-mia"},
        }
        return 200, json.dumps(found[path]()).encode()

    @contextmanager
    def running(self) -> Iterator[Forger]:
        """It serves."""
        forger = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.reply()

            def do_POST(self) -> None:
                length = int(self.headers.get("content-length", "0"))
                form = parse_qs(self.rfile.read(length).decode())
                forger.forms.append({name: values[0] for name, values in form.items()})
                self.reply()

            def reply(self) -> None:
                status, body = forger.answer(self.path)
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            self.address = f"http://127.0.0.1:{server.server_port}"
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            yield self
            server.shutdown()
            thread.join()


def encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def another_key(kid: str) -> ECKey:
    return ECKey.generate_key("P-256", {"kid": kid, "use": "sig"})
