"""`/docs`: the OpenAPI document in a browser, by a copy of Swagger UI that is served from here.

FastAPI's own page loads its files from another host and starts them by an inline script; the
Content-Security-Policy of this service allows neither.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI
from pydantic.json_schema import models_json_schema
from starlette.responses import HTMLResponse

from api.web.asgi.prefix import root
from api.web.assets import address
from api.web.caller import CallerDependency
from api.web.problems.documents import MEDIA_TYPE, Problem, ProblemField, responses

router = APIRouter(include_in_schema=False)
AT_THE_GATE = (400, 403, 408, 413, 414)
REFERENCE = "#/components/schemas/{model}"

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>HTTP interface</title>{csrf}
<link rel="icon" href="{icon}">
<link rel="stylesheet" href="{theirs}">
<link rel="stylesheet" href="{style}">
</head>
<body>
<nav aria-label="Main"><a href="{root}/">saf</a> <a href="{root}/">Jobs</a>
<a href="{root}/new">New job</a> <a href="{root}/datasets">Data sets</a>
<a href="{root}/system">System</a> <a href="{root}/guide/">Guide</a></nav>
<div id="swagger-ui"></div>
<script src="{bundle}"></script>
<script src="{script}"></script>
</body>
</html>
"""


class Application(FastAPI):
    """FastAPI whose OpenAPI document shows errors as they are sent: as problems. Every operation
    has those of `api.web.asgi.middleware.Gate`, which looks at a request first."""

    def openapi(self) -> dict[str, Any]:
        """The document, made once."""
        if self.openapi_schema is None:
            self.openapi_schema = _with_problems(super().openapi())
        return self.openapi_schema


def _with_problems(document: dict[str, Any]) -> dict[str, Any]:
    models = models_json_schema(
        [(Problem, "serialization"), (ProblemField, "serialization")], ref_template=REFERENCE
    )
    schemas = document["components"]["schemas"]
    schemas |= models[1]["$defs"]
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    for operations in document["paths"].values():
        for operation in operations.values():
            invalid = operation["responses"].get("422")
            if invalid is not None and MEDIA_TYPE not in invalid["content"]:
                operation["responses"]["422"] = responses(422)[422]
            for status, response in responses(*AT_THE_GATE).items():
                operation["responses"].setdefault(str(status), response)
    return document


@router.get("/docs", response_class=HTMLResponse)
def get_documentation(caller: CallerDependency) -> str:
    """The page."""
    token = caller.csrf if caller is not None else ""  # letters, digits, - and _
    return PAGE.format(
        csrf=f'\n<meta name="csrf" content="{token}">' if token else "",
        root=root.get(),
        icon=address("icon.svg"),
        theirs=address("vendor/swagger-ui/swagger-ui.css"),
        style=address("web/docs.css"),
        bundle=address("vendor/swagger-ui/swagger-ui-bundle.js"),
        script=address("web/docs.js"),
    )
