"""`saf serve`, `saf web`, `saf demo`: the service, started from a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from api.commands import demo
from api.commands.failures import told_in_words
from api.host.listener import DEFAULT_PORT, listen
from api.local.serve import LOOPBACK, LocalService, check_accounts
from api.settings import Settings, settings
from api.telemetry import log
from saf.cli.output import complain, console, say
from saf.redaction import Redaction, secrets_of

commands = typer.Typer()


@commands.command()
@told_in_words()
def serve(
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, help="0: any free one.", show_default="8000, or the next free one"
        ),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Where everything is kept.", show_default="./data")
    ] = None,
    allow_host: Annotated[
        list[str], typer.Option(help="A name under which others reach the service; repeatable.")
    ] = [],  # noqa: B006
) -> None:
    """Start the whole service on this machine: API, pages, worker, broker."""
    chosen = settings()
    log.configure("serve", chosen.log_format, secrets=chosen.secrets)
    if data_dir is not None:
        chosen = chosen.model_copy(update={"data_dir": data_dir})
    if allow_host:
        chosen = chosen.model_copy(update={"allowed_hosts": (*chosen.allowed_hosts, *allow_host)})
    check_accounts(host, chosen)
    service = LocalService(chosen, host=host, port=port)
    if host not in LOOPBACK:
        who = "everybody who reaches this machine can use the service, and " * (
            chosen.auth == "open"
        )
        complain(
            f"WARNING: on {host} {who}what is sent is not encrypted. Put something in front that "
            "does it (TLS)."
        )
    with service.stopped_by_signals():
        if service.start():
            _announce(service, chosen)
            service.tend()
        say("stopping; trainings write a checkpoint. Ctrl-C again stops at once")
        service.stop()


@commands.command()
@told_in_words()
def web(
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = DEFAULT_PORT,
) -> None:
    """Start the API and the pages alone; workers and servers are elsewhere."""
    from api.commands.server import run  # the application is made for this command only

    check_accounts(host, settings())
    run(listen(host, port))


@commands.command(name="demo")
@told_in_words()
def demo_(
    directory: Annotated[Path, typer.Option(help="Where everything is kept.")] = Path("data/demo"),
) -> None:
    """Start the service, train on real handwritten digits, check and run the LIF network."""
    raise typer.Exit(demo.main(directory, console()))


def _announce(service: LocalService, chosen: Settings) -> None:
    say(f"ready at {service.url}  (pages, API; documentation at {service.url}/docs)")
    say(f"data in {service.directory}; Ctrl-C stops")
    for what, address in (("database", chosen.database_url), ("broker", chosen.broker_url)):
        if address:
            say(f"{what} from outside: {Redaction(secrets_of(address)).text(address)}")
