"""Settings of a provider that are missing or cannot be right end the start, in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from api.main import create_app
from api.settings import Settings

RIGHT: dict[str, Any] = {
    "auth": "keys",
    "oidc_issuer": "https://id.example.org/realms/lab",
    "oidc_client_id": "saf",
    "broker_url": "redis+socket:///nowhere/broker.sock",
}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"oidc_client_id": ""}, "SAF_OIDC_CLIENT_ID"),
        ({"oidc_issuer": ""}, "SAF_OIDC_CLIENT_ID is set and SAF_OIDC_ISSUER"),
        (
            {"oidc_issuer": "", "oidc_client_id": "", "oidc_client_secret": "of a test"},
            "SAF_OIDC_CLIENT_SECRET is set and SAF_OIDC_ISSUER",
        ),
        ({"auth": "open"}, "SAF_AUTH=keys, not open"),
        ({"auth": "proxy"}, "SAF_AUTH=keys, not proxy"),
        ({"oidc_issuer": "http://id.example.org"}, "begins with https://"),
        ({"oidc_issuer": "ftp://id.example.org"}, "begins with https://"),
        ({"oidc_issuer": "id.example.org"}, "is no address"),
        ({"oidc_issuer": "https://id.example.org?x=y"}, "is no address"),
        ({"oidc_issuer": "https://[::1"}, "is no address"),
        ({"oidc_issuer": "https://me:secret@id.example.org"}, "is no address"),
        ({"oidc_scopes": "profile email"}, "lacks openid"),
    ],
)
def test_settings_that_cannot_be_right_end_the_start(
    tmp_path: Path, given: dict[str, Any], words: str
) -> None:
    with pytest.raises(SystemExit) as refused:
        create_app(Settings(**{"data_dir": tmp_path, **RIGHT, **given}))
    assert words in str(refused.value)
    assert "secret@" not in str(refused.value)
    assert "of a test" not in str(refused.value)


@pytest.mark.parametrize(
    "given",
    [
        {}, {"oidc_issuer": "https://auth.example.org/application/o/saf/"},
        {"oidc_issuer": "http://127.0.0.1:9000"}, {"oidc_issuer": "http://[::1]:9000"},
        {"oidc_issuer": "http://localhost:9000"}, {"oidc_client_secret": "of a test"},
    ],
)  # fmt: skip
def test_settings_that_can_be_right_are_taken(tmp_path: Path, given: dict[str, Any]) -> None:
    settings = Settings(**{"data_dir": tmp_path, **RIGHT, **given})
    create_app(settings)
    assert settings.oidc_client_secret == "" or settings.oidc_client_secret in settings.secrets
    assert "of a test" not in repr(settings)


def test_workers_may_be_given_the_same_settings() -> None:
    """They share a file of settings with the API, and have no accounts."""
    assert Settings(**{**RIGHT, "auth": "open"}).oidc_client_id == "saf"
