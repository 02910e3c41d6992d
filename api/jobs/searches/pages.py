"""The forms above the list of jobs: save the search that is shown, remove one."""

from __future__ import annotations

from urllib.parse import parse_qs

import anyio.to_thread
from fastapi import APIRouter, Request
from pydantic import ValidationError
from starlette.responses import RedirectResponse, Response

from api.errors import ForbiddenError, InvalidRequestError, NotFoundError
from api.jobs.searches.queries import read_search, save
from api.jobs.searches.schemas import NewSearch
from api.store import viewer
from api.store.accounts import projects
from api.web.asgi import prefix
from api.web.dependencies import Service, ServiceDependency

router = APIRouter(include_in_schema=False)
MOST_FORM_BYTES = 20_000


@router.post("/searches")
async def save_by_form(request: Request) -> Response:
    """Saves what the page shows, and shows it again."""
    body = await request.body()
    if len(body) > MOST_FORM_BYTES:
        raise InvalidRequestError(f"the form has more than {MOST_FORM_BYTES} bytes")
    form = {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}
    return await anyio.to_thread.run_sync(_save, request, form)


@router.post("/searches/{search}/remove")
def remove_by_form(service: ServiceDependency, search: str) -> Response:
    """Removes one."""
    with service.database.writing() as session:
        session.delete(read_search(session, search))
    return RedirectResponse(prefix.at("/"), 303)


def _save(request: Request, form: dict[str, str]) -> Response:
    service: Service = request.app.state.service
    try:
        wanted = NewSearch(name=form.get("name", ""), query=form.get("query", ""))
    except ValidationError as error:
        said = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        raise InvalidRequestError(f"the search cannot be saved: {said}") from error
    with service.database.writing() as session:
        project_id = None
        if name := form.get("project", ""):
            seen, found = viewer.current(), projects.lookup(session, name)
            if found is None or seen is None or not seen.sees(None, found.id):
                raise NotFoundError(f"there is no project {name[:64]}")
            if not seen.may_create_in(found.id):
                raise ForbiddenError(f"you are a viewer in the project {found.name}")
            project_id = found.id
        row = save(session, wanted, project_id)
        return RedirectResponse(prefix.at(f"/?{row.query}"), 303)
