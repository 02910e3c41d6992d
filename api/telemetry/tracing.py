"""Traces by OpenTelemetry, where `SAF_TRACES` asks for them: a span for each request, and one for
each attempt of a job, linked to that of the request which submitted it.

Without it nothing of OpenTelemetry is loaded here. Where spans are sent, how many and under which
name of the service is said by the standard variables, `OTEL_EXPORTER_OTLP_ENDPOINT` and others.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from api.settings import Settings
from api.telemetry.log import TRACEPARENT

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

UNTRACED = ("/static/", "/guide/", "/metrics", "/healthz", "/readyz")
STOP_SECONDS = 3.0  # that the end of a process waits for a collector


def _is_untraced(prefix: str, scope: Mapping[str, Any]) -> bool:
    """Whether a request has no span, below the `prefix` that a proxy takes away or not. Who has the
    link of a mail may do what it is for, and the span would have it."""
    path = str(scope.get("path", ""))
    if prefix and (path + "/").startswith(prefix + "/"):
        path = path[len(prefix) :]
    return path.startswith(UNTRACED) or "/mail/" in path


class Tracing:
    """Spans that nobody wants."""

    def of_requests(self, prefix: str) -> dict[str, Any]:
        """What FastAPI, which makes the spans of requests, is told: its `TelemetryConfig`. `prefix`
        is what addresses of the service begin with."""
        return {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}

    def traceparent(self) -> str | None:
        """The span of this context, as the header of that name has it."""
        return None

    @contextmanager
    def attempt(
        self, *, job_id: str, attempt: int, origin: Mapping[str, Any], **attributes: str
    ) -> Iterator[str | None]:
        """The time of an attempt; `origin` is what came with the job's request."""
        yield None

    def ended(self, outcome: str, *, is_error: bool) -> None:
        """How the attempt of this context ended."""

    def close(self) -> None:
        """Send what waits, and end."""


class OpenTelemetry(Tracing):
    """Spans that are sent to a collector."""

    def __init__(self, service: str, exporter: SpanExporter | None = None) -> None:
        """`exporter` takes the spans, at once; by default OTLP over HTTP does, many together.

        Raises ValueError where OpenTelemetry is not installed.
        """
        try:
            from opentelemetry import trace
            from opentelemetry.sdk.resources import SERVICE_NAME, Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

            if exporter is None:
                from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        except ImportError as error:
            raise ValueError(
                f"SAF_TRACES needs OpenTelemetry ({error}): pip install 'saf-service[otel]'"
            ) from None
        self._trace = trace
        self._propagator = TraceContextTextMapPropagator()
        resource = Resource.create()
        if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
            resource = resource.merge(Resource({SERVICE_NAME: service}))
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(
            BatchSpanProcessor(OTLPSpanExporter())
            if exporter is None
            else SimpleSpanProcessor(exporter)
        )
        self._tracer = self._provider.get_tracer("saf")

    def of_requests(self, prefix: str) -> dict[str, Any]:
        """A span for each request but those that are made all the time, and links of mails."""
        return {
            "tracer_provider": self._provider,
            "tracing": True,
            "operation_spans": False,
            "metrics": False,
            "logs": False,
            "auto_configure": False,
            "exclude": partial(_is_untraced, prefix),
        }

    def traceparent(self) -> str | None:
        """None outside of all spans."""
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier)
        return carrier.get(TRACEPARENT)

    @contextmanager
    def attempt(
        self, *, job_id: str, attempt: int, origin: Mapping[str, Any], **attributes: str
    ) -> Iterator[str | None]:
        """A trace of its own, linked to the request: that ended long ago, perhaps days."""
        of_request = self._trace.get_current_span(
            self._propagator.extract({TRACEPARENT: str(origin.get(TRACEPARENT) or "")})
        ).get_span_context()
        links = [self._trace.Link(of_request)] if of_request.is_valid else []
        with self._tracer.start_as_current_span(
            "attempt",
            links=links,
            kind=self._trace.SpanKind.CONSUMER,
            attributes={
                "saf.job_id": job_id,
                "saf.attempt": attempt,
                **{f"saf.{name}": value for name, value in attributes.items()},
            },
        ):
            yield self.traceparent()

    def ended(self, outcome: str, *, is_error: bool) -> None:
        """Put the outcome on the span."""
        span = self._trace.get_current_span()
        span.set_attribute("saf.model.outcome", outcome)
        if is_error:
            span.set_status(self._trace.StatusCode.ERROR, outcome)

    def close(self) -> None:
        """A collector that is away keeps nobody from ending."""
        thread = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        thread.start()
        thread.join(STOP_SECONDS)


def open_tracing(settings: Settings, service: str) -> Tracing:
    """As the settings say. Raises ValueError where that cannot be."""
    return OpenTelemetry(service) if settings.traces else Tracing()
