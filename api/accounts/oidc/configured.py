"""What the settings say of a provider, checked when the service starts."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from api.settings import Settings

HELD = ("oidc_client_id", "oidc_client_secret")


def check(settings: Settings) -> None:
    """Raise ValueError, in words, for settings of a provider that are missing or cannot be."""
    if not settings.oidc_issuer:
        for name in HELD:
            if getattr(settings, name):
                raise ValueError(
                    f"SAF_{name.upper()} is set and SAF_OIDC_ISSUER, the address of the provider, "
                    "is not"
                )
        return
    if not settings.oidc_client_id:
        raise ValueError(
            "SAF_OIDC_ISSUER is set and SAF_OIDC_CLIENT_ID, the name of this service at the "
            "provider, is not"
        )
    if settings.auth != "keys":
        raise ValueError(
            f"SAF_OIDC_ISSUER needs accounts that people sign in to: SAF_AUTH=keys, not "
            f"{settings.auth}"
        )
    if not _is_address(settings.oidc_issuer):
        raise ValueError("SAF_OIDC_ISSUER is no address such as https://id.example.org/realms/lab")
    if not is_safe(settings.oidc_issuer):
        raise ValueError("SAF_OIDC_ISSUER begins with https://; http:// is for this machine alone")
    if "openid" not in settings.oidc_scopes.split():
        raise ValueError(
            "SAF_OIDC_SCOPES lacks openid, without which no provider says who signs in"
        )


def is_safe(url: str) -> bool:
    """Whether nobody on the way can read or change what an address answers."""
    try:
        address = urlsplit(url)
        if address.scheme == "https":
            return bool(address.hostname)
        return address.scheme == "http" and _is_loopback(address.hostname or "")
    except ValueError:
        return False


def _is_address(text: str) -> bool:
    try:
        address = urlsplit(text)
    except ValueError:
        return False
    return bool(address.hostname) and not (
        address.query or address.fragment or "@" in address.netloc
    )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
