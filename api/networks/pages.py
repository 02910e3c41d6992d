"""The page of uploaded networks."""

from __future__ import annotations

from urllib.parse import urlencode

from fastapi import APIRouter, Request
from starlette.responses import Response

from api.networks.queries import find_networks
from api.web.asgi import prefix
from api.web.dependencies import ServiceDependency
from api.web.rendering import page

router = APIRouter(include_in_schema=False)
PAGE_NETWORKS = 100
READERS = (
    ("nir", "the equations of NIR"),
    ("norse", "Norse"),
    ("sinabs", "sinabs"),
    ("snntorch", "snnTorch"),
    ("spikingjelly", "SpikingJelly"),
    ("spyx", "Spyx"),
    ("rockpool", "Rockpool"),
)


@router.get("/networks")
def networks_page(request: Request, service: ServiceDependency, after: str = "") -> Response:
    """Networks of one's own that jobs can start from, and the upload of more."""
    with service.database.reading() as session:
        found, has_more = find_networks(session, limit=PAGE_NETWORKS, after=after)
    older = prefix.at("/networks?") + urlencode({"after": found[-1].id}) if has_more else None
    return page(
        request, "networks/networks.html", {"networks": found, "older": older, "readers": READERS}
    )
