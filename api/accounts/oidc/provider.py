"""The provider: what it says of itself and its keys, kept for a while, and the code for a token."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import quote_plus, urlencode

import httpx
from authlib.oauth2 import OAuth2Client, OAuth2Error
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from api.accounts.oidc.configured import is_safe
from api.accounts.oidc.fetching import Fetcher
from api.accounts.signing_in import Turns
from api.errors import UnauthorizedError, UnavailableError
from api.settings import Settings

KEPT_SECONDS = 3600.0  # that the provider's description and keys are believed
STALE_SECONDS = 86_400.0  # that they are where it does not answer
AT_ONCE = 16  # sign-ins of a process that have their turn, and wait for the provider
AGAIN_SECONDS = 5.0  # before it is asked again after it failed, or for keys that it did not have
ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "Ed25519"),
)
"""Of signatures that the provider alone can make."""
_CODE = re.compile(r"[a-z_]{1,60}")  # of an error, as RFC 6749 has them
log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Description:
    """What the provider says of itself."""

    authorization: str
    token: str
    keys: str
    userinfo: str
    end_session: str  # where people sign out of it; empty: it has no such page
    algorithms: tuple[str, ...]
    posts_secret: bool  # as a field, where it takes no header
    names_itself: bool  # `iss` beside each code (RFC 9207)


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """What came for a code."""

    id_token: str
    access_token: str


class Provider:
    """That of `SAF_OIDC_ISSUER`."""

    def __init__(self, settings: Settings) -> None:
        """Nothing is asked of it yet."""
        self.turns = Turns(AT_ONCE)
        self._settings = settings
        self._fetcher = Fetcher()
        self._description = _Kept(self._describe)
        self._keys = _Kept(self._fetch_keys)

    @property
    def issuer(self) -> str:
        """Its name."""
        return self._settings.oidc_issuer

    @property
    def description(self) -> Description:
        """What it says of itself. UnavailableError."""
        return self._description.get()

    def keys(self, *, newer_than: KeySet | None = None) -> KeySet:
        """Those that it signs with; asked for anew where they are still the ones that some token is
        not signed by. UnavailableError."""
        return self._keys.get(newer_than=newer_than)

    def address(self, *, state: str, nonce: str, verifier: str, redirect_uri: str) -> str:
        """Where a browser is sent to sign in."""
        with_pkce = self._client(redirect_uri=redirect_uri, code_challenge_method="S256")
        address, _ = with_pkce.create_authorization_url(
            self.description.authorization, state=state, nonce=nonce, code_verifier=verifier
        )
        return str(address)

    def end_address(self) -> str:
        """Where a browser is sent to sign out there; empty where there is no such page. No token
        is kept that would say who it is: the provider asks."""
        end = self.description.end_session
        joins = "&" if "?" in end else "?"
        client = urlencode({"client_id": self._settings.oidc_client_id})
        return f"{end}{joins}{client}" if end else ""

    def exchange(self, code: str, *, verifier: str, redirect_uri: str) -> Tokens:
        """The tokens for a code. UnauthorizedError for one that the provider does not take."""
        description = self.description
        client = self._client(redirect_uri=redirect_uri)
        if self._settings.oidc_client_secret and description.posts_secret:
            client.token_endpoint_auth_method = "client_secret_post"
        try:
            answer = client.fetch_token(
                description.token,
                grant_type="authorization_code",
                code=code,
                code_verifier=verifier,
            )
        except OAuth2Error as error:
            told = error.error if _CODE.fullmatch(str(error.error)) else "an error"
            log.warning("the provider gives no token for a code: %s", told)
            if told in ("invalid_client", "unauthorized_client"):
                raise UnavailableError(
                    "the provider does not accept this service: an admin looks at "
                    "SAF_OIDC_CLIENT_ID and SAF_OIDC_CLIENT_SECRET"
                ) from None
            raise UnauthorizedError(
                f"the provider did not confirm this sign-in ({told}); start again"
            ) from None
        except (ValueError, httpx.HTTPError):
            raise UnavailableError("the provider answers with no token; try again later") from None
        id_token, access_token = answer.get("id_token"), answer.get("access_token", "")
        if not isinstance(id_token, str) or not isinstance(access_token, str):
            raise UnavailableError(
                "the provider does not say who signed in: it sends no ID token; an admin looks at "
                "the scopes that it allows to SAF_OIDC_CLIENT_ID"
            )
        return Tokens(id_token=id_token, access_token=access_token)

    def userinfo(self, access_token: str, subject: str) -> dict[str, Any]:
        """What else it says of whoever signed in; empty where it says nothing of them."""
        address = self.description.userinfo
        if not address or not access_token:
            return {}
        try:
            said = self._fetcher.json(address, {"Authorization": f"Bearer {access_token}"})
        except UnavailableError as error:
            log.warning("the provider says nothing more of %s: %s", subject, error.detail)
            return {}
        return said if said.get("sub") == subject else {}

    def _client(self, **more: Any) -> OAuth2Client:
        settings = self._settings
        client = OAuth2Client(
            self,
            client_id=settings.oidc_client_id,
            client_secret=settings.oidc_client_secret or None,
            scope=settings.oidc_scopes,
            **more,
        )
        client.register_client_auth_method(("client_secret_basic", _basic))
        return client

    def post(
        self, url: str, *, data: Mapping[str, str], headers: Mapping[str, str], auth: Any
    ) -> httpx.Response:
        """How `OAuth2Client` sends a form."""
        url, headers, body = auth.prepare("POST", url, dict(headers), urlencode(data))
        return self._fetcher.send("POST", url, headers, body)

    def _describe(self) -> Description:
        address = self.issuer.rstrip("/") + "/.well-known/openid-configuration"
        found = self._fetcher.json(address)
        if found.get("issuer") != self.issuer:
            named = str(found.get("issuer"))[:200]
            raise UnavailableError(
                f"the provider at {self.issuer} calls itself {named}; SAF_OIDC_ISSUER is to say "
                "exactly that, if it is the right one"
            )
        offered = _texts(found, "id_token_signing_alg_values_supported") or ("RS256",)
        algorithms = tuple(name for name in ALGORITHMS if name in offered)
        if not algorithms:
            raise UnavailableError(
                f"the provider signs by {', '.join(offered)[:200]}, of which none can be checked "
                f"here; let it sign by one of {', '.join(ALGORITHMS)}"
            )
        ways = _texts(found, "token_endpoint_auth_methods_supported") or ("client_secret_basic",)
        return Description(
            authorization=_endpoint(found, "authorization_endpoint"),
            token=_endpoint(found, "token_endpoint"),
            keys=_endpoint(found, "jwks_uri"),
            userinfo=_endpoint(found, "userinfo_endpoint", is_needed=False),
            end_session=_endpoint(found, "end_session_endpoint", is_needed=False),
            algorithms=algorithms,
            posts_secret="client_secret_post" in ways and "client_secret_basic" not in ways,
            names_itself=found.get("authorization_response_iss_parameter_supported") is True,
        )

    def _fetch_keys(self) -> KeySet:
        found: Any = self._fetcher.json(self.description.keys)
        try:
            return KeySet.import_key_set(found)
        except (JoseError, ValueError, TypeError, KeyError, AttributeError) as error:
            log.warning("the keys of the provider cannot be read: %s", type(error).__name__)
            raise UnavailableError("the keys of the provider cannot be read") from None


class _Kept(Generic[T]):
    """Something that the provider says, asked for by one thread while others wait."""

    def __init__(self, ask: Callable[[], T]) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._value: T | None = None
        self._failed: UnavailableError | None = None
        self._asked_at = self._got_at = float("-inf")

    def get(self, *, newer_than: T | None = None) -> T:
        with self._lock:
            now = time.monotonic()
            is_wanted = now - self._got_at > KEPT_SECONDS or (
                newer_than is not None and self._value is newer_than
            )
            if is_wanted and now - self._asked_at > AGAIN_SECONDS:
                try:
                    self._value, self._failed = self._ask(), None
                    self._got_at = time.monotonic()
                except UnavailableError as error:
                    log.warning("signing in by OpenID Connect: %s", error.detail)
                    self._failed = error
                self._asked_at = time.monotonic()
            if self._value is None or time.monotonic() - self._got_at > STALE_SECONDS:
                raise UnavailableError(
                    "it has not answered yet" if self._failed is None else self._failed.detail
                )
            return self._value


def _basic(client: Any, method: str, uri: str, headers: dict[str, str], body: str) -> Any:
    """Name and secret as a header, with their signs encoded as RFC 6749 (2.3.1) asks."""
    pair = httpx.BasicAuth(quote_plus(client.client_id), quote_plus(client.client_secret))
    request = next(pair.auth_flow(httpx.Request(method, uri)))
    headers["Authorization"] = request.headers["Authorization"]
    return uri, headers, body


def _endpoint(found: Mapping[str, Any], name: str, *, is_needed: bool = True) -> str:
    address = found.get(name)
    if address is None and not is_needed:
        return ""
    if not isinstance(address, str) or not is_safe(address):
        raise UnavailableError(f"the provider names no {name} that begins with https://")
    return address


def _texts(found: Mapping[str, Any], name: str) -> tuple[str, ...]:
    listed = found.get(name)
    return tuple(map(str, listed)) if isinstance(listed, list) else ()
