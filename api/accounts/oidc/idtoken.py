"""Whether an ID token is of this provider, for this service, for this sign-in, and now."""

from __future__ import annotations

import logging
import time
from typing import Any

from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import ExpiredTokenError, InvalidClaimError, InvalidKeyIdError, JoseError
from joserfc.jws import JWSRegistry

from api.accounts.oidc.provider import Provider, Tokens
from api.errors import UnauthorizedError

SKEW_SECONDS = 60  # by which the clocks of provider and service may differ
LONGEST_SUBJECT = 255
LAST_SECOND = 253_402_300_799  # of the year 9999
log = logging.getLogger(__name__)


def verified(provider: Provider, tokens: Tokens, *, client_id: str, nonce: str) -> dict[str, Any]:
    """The claims of an ID token. UnauthorizedError, with what to do, for one that proves nothing;
    the log says what is wrong with it."""
    try:
        signed = _signed(provider, tokens.id_token)
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise _refused(f"its signature: {type(error).__name__}") from None
    wanted: dict[str, Any] = {
        "iss": {"essential": True, "values": [provider.issuer]},
        "aud": {"essential": True, "values": [client_id]},
        **{name: {"essential": True} for name in ("sub", "exp", "iat", "nonce")},
    }
    given = {"nonce": nonce, "client_id": client_id, "access_token": tokens.access_token}
    claims = CodeIDToken(signed.claims, signed.header, wanted, given)
    try:
        claims.validate(leeway=SKEW_SECONDS)
    except (ExpiredTokenError, InvalidClaimError) as error:
        if (why := _clocks(claims)) is not None:
            log.warning("an ID token is refused: %s", why)
            raise UnauthorizedError(
                f"{why}, by the clock of this service; an admin sets the clocks of both (NTP), "
                "then start again"
            ) from None
        raise _refused(_claim(error)) from None
    except (JoseError, ValueError, TypeError) as error:
        raise _refused(_claim(error)) from None
    subject = claims["sub"]
    if not is_subject(subject):
        raise _refused("its sub")
    return dict(claims)


def is_subject(text: object) -> bool:
    """Whether a provider may know somebody by that."""
    return isinstance(text, str) and 0 < len(text) <= LONGEST_SUBJECT and text.isprintable()


def _signed(provider: Provider, token: str) -> jwt.Token:
    registry = JWSRegistry(algorithms=provider.description.algorithms, strict_check_header=False)
    keys = provider.keys()
    try:
        return jwt.decode(token, keys, registry=registry)
    except InvalidKeyIdError:  # the provider has others by now
        return jwt.decode(token, provider.keys(newer_than=keys), registry=registry)


def _clocks(claims: dict[str, Any]) -> str | None:
    """What is wrong with the times of a token; None where nothing is."""
    now = time.time()
    times = [claims["exp"], claims["iat"], claims.get("nbf", 0)]
    if not all(isinstance(each, int | float) and abs(each) < LAST_SECOND for each in times):
        return None
    ends, begins = times[0], max(times[1:])
    if ends <= now - SKEW_SECONDS + 1:
        return f"the word of the provider ran out {now - ends:.0f} s ago"
    if begins > now + SKEW_SECONDS:
        return f"the word of the provider is of a moment {begins - now:.0f} s ahead"
    return None


def _claim(error: Exception) -> str:
    return f"its {getattr(error, 'claim', None) or type(error).__name__}"


def _refused(why: str) -> UnauthorizedError:
    log.warning("an ID token is refused: %s", why)
    return UnauthorizedError(
        "what the provider sent does not prove who you are, and nobody was signed in; start again, "
        "and tell an admin if it happens twice: the log of the service says why"
    )
