"""What a provider says of itself: believed for a while, checked, and not waited for without end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from api.accounts.oidc import fetching
from api.accounts.oidc import provider as providers
from api.accounts.oidc.provider import Provider
from api.errors import UnavailableError
from api.settings import Settings
from tests.api.accounts.oidc.forger import Forger

DESCRIPTION = "/.well-known/openid-configuration"


@pytest.fixture
def forger() -> Iterator[Forger]:
    with Forger().running() as running:
        yield running


@pytest.fixture
def provider(forger: Forger) -> Provider:
    return Provider(Settings(oidc_issuer=forger.issuer, oidc_client_id="public"))


def test_it_is_asked_once_and_believed_for_an_hour(
    provider: Provider, forger: Forger, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert provider.description is provider.description
    assert provider.keys() is provider.keys()
    assert forger.asked == [DESCRIPTION, "/keys"]
    monkeypatch.setattr(providers, "KEPT_SECONDS", -1.0)
    monkeypatch.setattr(providers, "AGAIN_SECONDS", -1.0)
    forger.answers[DESCRIPTION] = (500, b"")
    assert provider.description.token  # what it said before, while it is away
    assert forger.asked.count(DESCRIPTION) == 2
    monkeypatch.setattr(providers, "STALE_SECONDS", -1.0)
    with pytest.raises(UnavailableError, match="answers 500"):
        _ = provider.description


def test_one_that_fails_is_left_alone_for_some_seconds(provider: Provider, forger: Forger) -> None:
    forger.answers[DESCRIPTION] = (502, b"")
    for _ in range(3):
        with pytest.raises(UnavailableError, match="answers 502 at http"):
            _ = provider.description
    assert forger.asked == [DESCRIPTION]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"issuer": "https://another.example"}, "calls itself https://another.example"),
        ({"issuer": None}, "calls itself None"),
        ({"token_endpoint": "http://id.example.org/token"}, "no token_endpoint"),
        ({"authorization_endpoint": "javascript:alert(1)"}, "no authorization_endpoint"),
        ({"authorization_endpoint": "https://[x"}, "no authorization_endpoint"),
        ({"jwks_uri": None}, "no jwks_uri"),
        ({"userinfo_endpoint": "ftp://x"}, "no userinfo_endpoint"),
        ({"id_token_signing_alg_values_supported": ["HS256", "none"]}, "signs by HS256, none"),
    ],
)
def test_what_cannot_be_trusted_is_refused(
    provider: Provider, forger: Forger, said: dict[str, Any], words: str
) -> None:
    forger.said = said
    with pytest.raises(UnavailableError, match=words.replace("[", r"\[")):
        _ = provider.description


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff", b"[" * 10_000, b"{"])
def test_what_is_no_object_is_refused(provider: Provider, forger: Forger, body: bytes) -> None:
    forger.answers[DESCRIPTION] = (200, body)
    with pytest.raises(UnavailableError, match="no JSON object"):
        _ = provider.description


@pytest.mark.parametrize(
    "keys", [{}, {"keys": 7}, {"keys": []}, {"keys": ["x"]}, {"keys": [{"kty": "RSA", "n": 7}]}]
)
def test_keys_that_cannot_be_read_are_refused(
    provider: Provider, forger: Forger, keys: dict[str, Any]
) -> None:
    forger.answers["/keys"] = (200, json.dumps(keys).encode())
    with pytest.raises(UnavailableError, match="cannot be read"):
        provider.keys()


def test_a_slow_one_is_not_waited_for(
    provider: Provider, forger: Forger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "STEP_SECONDS", 0.2)
    forger.delay = 1.0
    with pytest.raises(UnavailableError, match="does not answer in time"):
        _ = provider.description


def test_one_that_never_ends_is_not_waited_for(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "WHOLE_SECONDS", -1.0)
    with pytest.raises(UnavailableError, match="does not answer in time"):
        _ = provider.description


def test_what_it_says_of_somebody_else_is_no_word_about_whoever_signs_in(
    provider: Provider, forger: Forger
) -> None:
    assert provider.userinfo("a", "sub-of-mia") == {"sub": "sub-of-mia"}
    assert provider.userinfo("a", "another") == {}
    forger.answers["/me"] = (403, b"")
    assert provider.userinfo("a", "sub-of-mia") == {}
