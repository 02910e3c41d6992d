"""Measurements of one process of the API, and its metrics page for Prometheus."""

from __future__ import annotations

from importlib.metadata import version

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.registry import Collector
from starlette.types import Scope

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 600.0)
MOUNTED = frozenset({"/static", "/guide"})  # folders of files, whose names are no routes
OTHER = "other"  # method or route of a request that no operation of ours takes


class Measures:
    """The registry of one application; nothing is kept in the module."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        build = Gauge(
            "saf_build_info", "1; the version is a label.", ["version"], registry=self._registry
        )
        build.labels(version("saf-service")).set(1)
        self._requests = Counter(
            "saf_http_requests",
            "Requests that this process answered.",
            ["method", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "saf_http_request_seconds",
            "Time until the answer was sent, of live streams until it began, by route.",
            ["method", "route"],
            buckets=SECONDS,
            registry=self._registry,
        )

    def answered(self, scope: Scope, method: str, status: int, seconds: float) -> None:
        """A request was answered. Labels come from the routes, never from the request."""
        method = method if method in METHODS else OTHER
        self._requests.labels(method, str(status)).inc()
        self._seconds.labels(method, route_of(scope)).observe(seconds)

    def add(self, collector: Collector) -> None:
        """Ask `collector` too, whenever the numbers are asked for."""
        self._registry.register(collector)

    def page(self) -> bytes:
        """All numbers in the text format of Prometheus."""
        return generate_latest(self._registry)


def route_of(scope: Scope) -> str:
    """The template of the route that a request took, such as `/v1/jobs/{job_id}`."""
    template = getattr(scope.get("route"), "path", None)
    if isinstance(template, str):
        return template
    first = "/" + scope["path"].split("/")[1]
    return first if first in MOUNTED and scope["path"] != first else OTHER
