"""Spans of requests and attempts, linked; and nothing of them unless they are asked for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from api.settings import Settings
from api.store.tables.jobs import Job, Status
from api.telemetry.tracing import OpenTelemetry, Tracing, open_tracing
from tests.api.conftest import NO_BROKER, Server, serving
from tests.waiting import PATIENCE, until
from worker.runner import Runner

TRAINEE = (sys.executable, str(Path(__file__).parents[2] / "worker" / "trainee.py"))
CLIENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def traced(tmp_path: Path, sqlite_url: str, exporter: InMemorySpanExporter) -> Iterator[Server]:
    settings = Settings(data_dir=tmp_path, database_url=sqlite_url, broker_url=NO_BROKER)
    with serving(settings, OpenTelemetry("saf-api", exporter)) as server:
        yield server


def named(spans: Sequence[ReadableSpan], name: str) -> list[ReadableSpan]:
    return [span for span in spans if span.name == name]


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_a_request_is_a_span_named_by_its_route_and_a_child_of_the_clients(
    traced: Server, exporter: InMemorySpanExporter
) -> None:
    traced.http.get("/v1/jobs/job_1", headers={"traceparent": CLIENT})
    until(lambda: exporter.get_finished_spans())
    (span,) = named(exporter.get_finished_spans(), "GET /v1/jobs/{job_id}")
    assert span.kind is SpanKind.SERVER
    assert span.parent is not None
    assert f"{span.parent.trace_id:032x}" == CLIENT.split("-")[1]
    found = attributes(span)
    assert found["http.response.status_code"] == 404
    assert found["http.route"] == "/v1/jobs/{job_id}"
    assert found["url.path"] == "/v1/jobs/job_1"


def test_what_is_asked_all_the_time_and_links_of_mails_have_no_span(
    traced: Server, exporter: InMemorySpanExporter
) -> None:
    for path in ("/metrics", "/healthz", "/readyz", "/static/web/base.css", "/v1/workers"):
        traced.http.get(path)
    traced.http.get("/mail/stop/whk_1.code")  # a span would have the code
    until(lambda: exporter.get_finished_spans())
    assert [span.name for span in exporter.get_finished_spans()] == ["GET /v1/workers"]


@pytest.mark.parametrize("sent", ["", "/saf"], ids=["taken away", "kept"])
def test_the_same_below_a_prefix_which_a_proxy_takes_away_or_not(
    tmp_path: Path, sqlite_url: str, exporter: InMemorySpanExporter, sent: str
) -> None:
    settings = Settings(
        data_dir=tmp_path, database_url=sqlite_url, broker_url=NO_BROKER, root_path="/saf"
    )
    with serving(settings, OpenTelemetry("saf-api", exporter)) as server:
        for path in ("/metrics", "/healthz", "/readyz", "/static/web/base.css", "/v1/workers"):
            assert server.http.get(sent + path).status_code in (200, 503), path
        server.http.get(f"{sent}/mail/stop/whk_1.code")
        until(lambda: exporter.get_finished_spans())
    assert [span.name for span in exporter.get_finished_spans()] == ["GET /v1/workers"]


@pytest.mark.slow
def test_a_defect_is_an_error_of_its_span(
    traced: Server, exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    from api.workers import routes as workers

    def broken(*_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(workers, "find_workers", broken)
    assert traced.http.get("/v1/workers").status_code == 500
    until(lambda: exporter.get_finished_spans())
    (span,) = exporter.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR


def test_each_attempt_of_a_job_is_a_span_linked_to_the_request_that_submitted_it(
    traced: Server, exporter: InMemorySpanExporter
) -> None:
    job = traced.submit(metadata={"steps": "30", "step_seconds": "0.01", "die_at": "25"})
    settings = traced.service.settings.model_copy(update={"retry_seconds": 0.1})
    runner = Runner(
        settings,
        lambda _job_id: None,
        command=TRAINEE,
        tracing=OpenTelemetry("saf-worker", exporter),
    )
    until(lambda: runner.work() or traced.get(job["urls"]["self"])["status"] == Status.succeeded)
    runner.close()
    runner.stop()

    (request,) = named(exporter.get_finished_spans(), "POST /v1/jobs")
    first, second = named(exporter.get_finished_spans(), "attempt")
    assert [attributes(span)["saf.attempt"] for span in (first, second)] == [1, 2]
    assert {attributes(span)["saf.job_id"] for span in (first, second)} == {job["id"]}
    assert [attributes(s)["saf.model.outcome"] for s in (first, second)] == [
        "process_ended",
        "succeeded",
    ]
    assert first.status.status_code is StatusCode.ERROR
    for span in (first, second):
        assert span.parent is None
        (link,) = span.links
        assert link.context.trace_id == request.context.trace_id
        assert link.context.span_id == request.context.span_id
    assert first.context.trace_id != second.context.trace_id


def test_without_the_setting_nothing_is_traced_and_nothing_of_it_is_loaded(tmp_path: Path) -> None:
    # redis looks for the metrics of the SDK by itself; spans and what sends them are ours to load.
    code = (
        "import sys, api.main, worker.runner\n"
        "from api.settings import Settings\n"
        "api.main.create_app(Settings())\n"
        "names = ('opentelemetry.sdk.trace', 'opentelemetry.exporter', 'google.protobuf')\n"
        "print([name for name in sys.modules if name.startswith(names)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert type(open_tracing(Settings(), "saf")) is Tracing
    with serving(Settings(data_dir=tmp_path, broker_url=NO_BROKER)) as server:
        job = server.submit()
        with server.service.database.reading() as session:
            origin = session.get_one(Job, job["id"]).origin
    assert origin is not None
    assert "traceparent" not in origin


def test_where_it_is_asked_for_and_not_installed_the_start_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ValueError, match=r"pip install 'saf-service\[otel\]'"):
        open_tracing(Settings(traces=True), "saf")


class Collector:
    """An OTLP collector that keeps what it gets."""

    def __init__(self) -> None:
        collector = self
        self.spans: list[tuple[str, str]] = []  # of which service, and its name

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                import gzip

                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                for of in ExportTraceServiceRequest.FromString(body).resource_spans:
                    service = {a.key: a.value.string_value for a in of.resource.attributes}
                    for scope in of.scope_spans:
                        names = [(service["service.name"], span.name) for span in scope.spans]
                        collector.spans += names
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.mark.parametrize("answers", [True, False])
def test_spans_are_sent_where_the_standard_variables_say_and_a_collector_that_is_away_stops_nobody(
    tmp_path: Path, answers: bool
) -> None:
    collector = Collector()
    if not answers:
        collector.server.shutdown()
        collector.server.server_close()
    program = (
        "import sys, httpx\n"
        "from pathlib import Path\n"
        "from api.settings import settings\n"
        "from tests.api.conftest import serving\n"
        "with serving(settings()) as server:\n"
        "    print(server.http.get('/v1/workers').status_code)\n"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[3]),
        "SAF_DATA_DIR": str(tmp_path),
        "SAF_BROKER_URL": NO_BROKER,
        "SAF_TRACES": json.dumps(True),
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
    }
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    )
    assert done.stdout.strip() == "200", done.stderr
    assert collector.spans == ([("saf-api", "GET /v1/workers")] if answers else [])
