"""The web application: `uvicorn --factory api.main:create_app`."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cache, partial
from types import FrameType
from typing import cast

import anyio.to_thread
from fastapi import APIRouter, Depends, FastAPI
from fastapi.telemetry import TelemetryConfig
from starlette.routing import BaseRoute

from api.accounts import mail as account_mail
from api.accounts import pages as account_pages
from api.accounts import routes as accounts
from api.accounts.guard import Guard
from api.accounts.limits import pages as limit_pages
from api.accounts.limits import routes as limits
from api.accounts.limits.requests import RequestLimits
from api.accounts.oidc import configured
from api.accounts.oidc import pages as oidc_pages
from api.accounts.oidc.provider import Provider
from api.accounts.opening import open_accounts
from api.accounts.recording import Closed
from api.accounts.routing import check_decided
from api.accounts.signing_in import SignIns
from api.accounts.uses import KeyUses
from api.broker import wakeups
from api.broker.wakeups import WakeUps, celery_app
from api.datasets import catalogue, choices, previews
from api.datasets import pages as dataset_pages
from api.datasets import routes as datasets
from api.datasets.checks import Checks
from api.jobs import live
from api.jobs import routes as jobs
from api.jobs.compare import pages as compare_pages
from api.jobs.compare import routes as compare
from api.jobs.exports import routes as exports
from api.jobs.live import Streams
from api.jobs.pages import job_page, list_page, new_page
from api.jobs.results import artifacts, events, logs, metrics, predict, samples, spike_stats
from api.jobs.results.predict_process import Predictor
from api.jobs.searches import pages as search_pages
from api.jobs.searches import routes as searches
from api.maintenance.collector import Janitor
from api.networks import pages as network_pages
from api.networks import routes as networks
from api.networks import uploaded as uploaded_networks
from api.settings import Settings
from api.settings import settings as process_settings
from api.store import database as databases
from api.store.blobs.damage import DamageRecord
from api.store.blobs.open import open_store
from api.store.database import Database
from api.store.jobs.sweeper import Sweeper
from api.store.limits import numbers
from api.store.migrate import migrate
from api.sweeps import pages as sweep_pages
from api.sweeps import routes as sweeps
from api.system import health
from api.system import pages as system_pages
from api.system.disk_usage import Storage
from api.system.gauges import Gauges
from api.telemetry import log
from api.telemetry.tracing import Tracing, open_tracing
from api.uploads import routes as uploads
from api.uploads.files import Uploads
from api.web import openapi
from api.web.asgi.compression import Compression
from api.web.asgi.head import HeadAsGet
from api.web.asgi.measures import Measures
from api.web.asgi.middleware import Envelope, Gate
from api.web.asgi.prefix import Prefix
from api.web.assets import assets
from api.web.dependencies import Service
from api.web.guide import Guide
from api.web.limits import ConcurrencyLimits
from api.web.problems import handler
from api.web.rendering import ProblemPages
from api.web.startup import Opening
from api.webhooks import pages as webhook_pages
from api.webhooks import routes as webhooks
from api.webhooks.mail import configured as mail_configured
from api.webhooks.mail import pages as mail_pages
from api.webhooks.mail.addresses import Confirmations
from api.webhooks.sender import Sender
from api.workers import routes as workers

OPENING_SECONDS = 10.0  # that the start of the server waits for its database
BUSY_SECONDS = 4.5  # that a request waits for the write lock of SQLite, before it is answered 503
THREADS = 200  # that answer requests: those that wait to write leave enough to those that read
TAGS = [
    {"name": "jobs", "description": "Trainings: submit, watch, steer, and read what came out."},
    {"name": "sweeps", "description": "Many jobs from one request, and the table of them."},
    {"name": "artifacts", "description": "The files that a job leaves behind."},
    {"name": "exports", "description": "Networks of jobs, written for other tools."},
    {"name": "datasets", "description": "What can be trained on; uploads."},
    {"name": "uploads", "description": "Large files, in pieces (tus 1.0)."},
    {"name": "networks", "description": "Networks of one's own, to start jobs from."},
    {"name": "choices", "description": "Networks, methods and surrogates that a job can ask for."},
    {"name": "accounts", "description": "Users, their keys, and projects that they share."},
    {"name": "webhooks", "description": "Addresses that are told when a job or a sweep ends."},
    {"name": "system", "description": "Workers and health."},
]


def create_app(settings: Settings | None = None, tracing: Tracing | None = None) -> FastAPI:
    """The application; without settings, those of the process. Ends the process where an address
    in them cannot be right. `tracing` takes the place of what the settings say."""
    chosen = settings or process_settings()
    log.configure("api", chosen.log_format, secrets=chosen.secrets)
    try:
        _check(chosen)
        traces = tracing or open_tracing(chosen, "saf-api")
    except ValueError as error:
        raise SystemExit(f"the service cannot start: {error}") from None
    measures = Measures()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        running = await anyio.to_thread.run_sync(_Running, chosen, measures)
        service = app.state.service = running.service
        service.opening.start()
        await anyio.to_thread.run_sync(service.opening.wait, OPENING_SECONDS)
        with _streams_end_on_signals(service.part(Streams)):
            yield
        service.part(Streams).close()
        await anyio.to_thread.run_sync(running.stop)
        await anyio.to_thread.run_sync(traces.close)

    app = openapi.Application(
        title="Spiking network training service",
        summary="SAF and OTTT training, and verified conversion to LIF neurons.",
        version="0.1.0",
        lifespan=lifespan,
        dependencies=[Depends(check_decided)],
        telemetry=cast(TelemetryConfig, traces.of_requests(chosen.root_path)),
        openapi_tags=TAGS,
        servers=[{"url": chosen.root_path}] if chosen.root_path else None,
        docs_url=None,
        redoc_url=None,
    )
    handler.install(app)
    app.router.routes.extend(_routes())
    app.mount("/static", assets(), name="static")
    app.mount("/guide", Guide(), name="guide")
    # The last one added is the first that a request meets.
    app.add_middleware(Guard, settings=chosen)
    app.add_middleware(
        Gate,
        allowed_hosts=chosen.allowed_hosts,
        body_max_bytes=chosen.body_max_bytes,
        upload_max_bytes=chosen.upload_max_bytes,
        upload_max_seconds=chosen.upload_max_seconds,
        json_max_depth=chosen.json_max_depth,
        json_max_values=chosen.json_max_values,
        query_max_bytes=chosen.query_max_bytes,
    )
    app.add_middleware(Envelope, measures=measures, tracing=traces)
    app.add_middleware(ProblemPages)
    app.add_middleware(Compression)
    app.add_middleware(HeadAsGet)
    app.add_middleware(Prefix, prefix=chosen.root_path, trusted_proxies=chosen.trusted_proxies)
    return app


@cache
def _routes() -> tuple[BaseRoute, ...]:
    """Those of all modules. They know no application, so those of one process share them: FastAPI
    takes a third of a second to read the parameters of all endpoints."""
    together = APIRouter(dependencies=[Depends(check_decided)])
    modules = (
        jobs,
        sweeps,
        events,
        metrics,
        logs,
        live,
        spike_stats,
        predict,
        samples,
        artifacts,
        exports,
        searches,
        datasets,
        choices,
        catalogue,
        uploads,
        previews,
        uploaded_networks,
        networks,
        workers,
        health,
        accounts,
        limits,
        webhooks,
        openapi,
    )
    pages = (
        *(list_page, compare, compare_pages, job_page, new_page),
        *(dataset_pages, network_pages, sweep_pages, system_pages, account_pages, oidc_pages),
        limit_pages,
        *(webhook_pages, mail_pages, account_mail, search_pages),
    )
    for module in (*modules, *pages):
        together.include_router(module.router)
    return tuple(together.routes)


def _check(settings: Settings) -> None:
    """Raise ValueError for addresses and settings that cannot be right; others are waited for."""
    databases.check_address(settings.database)
    wakeups.check_address(settings.broker_url)
    configured.check(settings)
    mail_configured.check(settings)
    open_store(settings)


class _Running:
    """The parts of the service and the threads that work for all requests."""

    def __init__(self, settings: Settings, measures: Measures) -> None:
        """Nothing is asked of database or broker yet."""
        database = Database(
            settings.database,
            busy_seconds=BUSY_SECONDS,
            statement_seconds=settings.statement_seconds,
            connections=settings.database_connections,
        )
        store = open_store(settings)
        store.damaged = DamageRecord(database).found
        celery = celery_app(settings)
        uploads = Uploads(settings)
        checks = Checks(database, store, settings, uploads)
        wakeups = WakeUps(celery)
        patient = database.patient()
        self._sweeper = Sweeper(patient, settings, wakeups.send)
        self._janitor = Janitor(patient, store, settings)
        self._sender = Sender(patient, settings)
        self._uses = KeyUses(database)
        self.service = Service(
            settings=settings,
            opening=Opening(
                [
                    lambda: migrate(database),
                    partial(_know, database),
                    partial(open_accounts, database, settings),
                    partial(numbers.publish, database, settings),
                    checks.resume,
                    self._sweeper.start,
                    self._janitor.start,
                    self._sender.start,
                    self._uses.start,
                ],
            ),
            database=database,
            store=store,
            celery=celery,
            wakeups=wakeups,
            measures=measures,
            concurrency=ConcurrencyLimits(settings),
            parts={
                Checks: checks,
                Uploads: uploads,
                KeyUses: self._uses,
                SignIns: SignIns(),
                RequestLimits: RequestLimits(settings),
                Closed: Closed(),
                Confirmations: Confirmations(),
                Predictor: Predictor(settings),
                Streams: Streams(database),
                Storage: Storage(database, store, settings),
                Provider: Provider(settings),
            },
        )
        measures.add(Gauges(self.service))

    def stop(self) -> None:
        """End everything but requests under way."""
        service = self.service
        service.opening.stop()
        self._uses.stop()
        service.concurrency.stop()
        self._sender.stop()
        self._janitor.stop()
        self._sweeper.stop()
        service.part(Checks).close()
        service.part(Predictor).close()
        service.wakeups.close()
        service.celery.close()
        service.database.dispose()


def _know(database: Database) -> None:
    with database.reading() as session:
        database.confirm(session)


@contextmanager
def _streams_end_on_signals(streams: Streams) -> Iterator[None]:
    """End the live streams as soon as a signal asks the server to stop.

    The server waits for open responses before it ends the lifespan, and a stream is one.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def stop(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(streams.close)
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
