"""The commands of `saf` for accounts: signing in, keys, users, projects."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from saf.cli.accounts.limits import ProjectName, UserName, limit_project, limit_user, show
from saf.cli.output import AsJson, complain, moment, print_json, say, table
from saf.cli.server import headers, server_address, server_client
from saf.client.accounts import credentials
from saf.client.client import Client
from saf.client.settings import settings

commands = typer.Typer()
keys = typer.Typer(no_args_is_help=True, help="Keys by which programs come in.")
users = typer.Typer(no_args_is_help=True, help="Users of the service; for its admins.")
projects = typer.Typer(no_args_is_help=True, help="Projects that several people share.")
commands.add_typer(keys, name="keys")
commands.add_typer(users, name="users")
commands.add_typer(projects, name="projects")
webhooks = typer.Typer(
    no_args_is_help=True, help="Addresses that are told when a job or a sweep ends."
)
commands.add_typer(webhooks, name="webhooks")
Subject = Annotated[
    str, typer.Option(help="By what the provider of OpenID Connect knows them (sub).")
]
users.command(name="limit")(limit_user)
projects.command(name="limit")(limit_project)


@commands.command()
def login(
    from_stdin: Annotated[
        bool, typer.Option("--stdin", help="Read the key from standard input, for scripts.")
    ] = False,
) -> None:
    """Keep a key for the server, for all commands and the Python client; asks for it."""
    url = server_address()
    if from_stdin:
        key = sys.stdin.readline().strip()
    else:
        key = typer.prompt("Key", hide_input=True, err=True).strip()
    given = settings().headers | headers.get()
    with Client(url, retries=2, headers=given, token=key, project="") as client:
        me = client.accounts.me()
    if me["user"] is None:
        complain(f"the service at {client.url} has no accounts; nothing was kept")
        raise typer.Exit(1)
    place = credentials.keep(url, key)
    say(f"{me['user']['name']} at {client.url}; the key is in {place}")
    if settings().token:
        complain("SAF_TOKEN is set, and goes before it")


@commands.command()
def logout(
    revoke: Annotated[
        bool, typer.Option("--revoke", help="Close the key for good, wherever else it is.")
    ] = False,
) -> None:
    """Forget the key that is kept for the server."""
    url = server_address()
    if revoke and (kept := credentials.find(url)):
        with Client(url, retries=2, token=kept, project="") as client:
            key = client.accounts.me()["key"]
            if key is not None:
                client.accounts.revoke_key(key["id"])
    if not credentials.forget(url):
        complain(f"no key is kept for {url}")
        raise typer.Exit(1)
    say("forgotten" + (", and revoked" if revoke else ""))


@commands.command()
def whoami(
    with_limits: Annotated[
        bool,
        typer.Option("--limits", help="And what you and your projects may have, and have."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Who the server takes you for, with which key and projects."""
    with server_client() as client:
        me = client.accounts.me()
        found = client.accounts.limits() if with_limits and me["user"] is not None else []
    me = me | ({"limits": found} if with_limits else {})
    if as_json:
        return print_json(me)
    if me["user"] is None:
        return say(f"{client.url} has no accounts: whoever reaches it may do everything")
    user, key = me["user"], me["key"]
    say(f"{user['name']}{', an admin of the service' if user['admin'] else ''} at {client.url}")
    if key is not None:
        until = f", expires {moment(key['expires_at'])}" if key["expires_at"] else ""
        say(f"key {key['name']} ({key['prefix']}…){until}")
    say(f"may {', '.join(me['scopes'])}")
    for project in me["projects"]:
        say(f"project {project['name']}: {project['role'] or 'seen as an admin of the service'}")
    return show(found) if with_limits else None


@keys.command(name="create")
def create_key(
    name: Annotated[str, typer.Argument(help="What it is for.")],
    scope: Annotated[
        list[str],
        typer.Option(help="read, write, admin or metrics; repeatable. By default those you have."),
    ] = [],  # noqa: B006
    days: Annotated[
        float | None, typer.Option(help="Until it expires.", show_default="never")
    ] = None,
    user: Annotated[str, typer.Option(help="Whose; by an admin.", show_default="yours")] = "",
    as_json: AsJson = False,
) -> None:
    """Make a key, and print it, which is the only time it is shown."""
    with server_client() as client:
        made = client.accounts.add_key(name, scopes=scope, expires_days=days, user=user)
    print_json(made) if as_json else say(made["secret"])


@keys.command(name="list")
def list_keys(
    user: Annotated[str, typer.Option(help="Whose; by an admin.", show_default="yours")] = "",
    as_json: AsJson = False,
) -> None:
    """List keys, the newest first."""
    with server_client() as client:
        found = client.accounts.keys(user)
    if as_json:
        return print_json(found)
    rows = [
        (
            *(key["id"], key["name"], f"{key['prefix']}…", " ".join(key["scopes"])),
            moment(key["last_used_at"]) if key["last_used_at"] else "never",
            _until(key),
        )
        for key in found
    ]
    head = ("Id", "Name", "Begins with", "Opens", "Last used", "Expires")
    return table(head, rows, "There is no key.")


@keys.command(name="revoke")
def revoke_key(key_id: Annotated[str, typer.Argument(metavar="KEY", help="Its id.")]) -> None:
    """Close a key for good; browsers that signed in with it are signed out."""
    with server_client() as client:
        client.accounts.revoke_key(key_id)


@users.command(name="list")
def list_users(as_json: AsJson = False) -> None:
    """List users."""
    with server_client() as client:
        found = client.accounts.users()
    if as_json:
        return print_json(found)
    rows = [
        (
            *(user["name"], "admin" if user["admin"] else "", moment(user["created_at"])),
            f"since {moment(user['disabled_at'])}" if user["disabled_at"] else "",
        )
        for user in found
    ]
    return table(("Name", "", "Made", "Disabled"), rows, "There is no user.")


@users.command(name="add")
def add_user(
    name: UserName,
    admin: Annotated[bool, typer.Option("--admin", help="Of the service.")] = False,
    subject: Subject = "",
    as_json: AsJson = False,
) -> None:
    """Make a user and their first key, and print it, which is the only time it is shown."""
    with server_client() as client:
        client.accounts.add_user(name, admin=admin, subject=subject)
        made = client.accounts.add_key("first key", user=name)
    print_json(made) if as_json else say(made["secret"])


@users.command()
def disable(name: UserName) -> None:
    """Let neither keys nor browsers of a user in any more; what is theirs stays."""
    _change(name, disabled=True)


@users.command()
def enable(name: UserName) -> None:
    """Let a user come in again."""
    _change(name, disabled=False)


@users.command()
def link(name: UserName, subject: Subject) -> None:
    """Let somebody of the provider of OpenID Connect sign in as a user."""
    if not subject:
        complain("the subject is empty; `saf users unlink` takes a link away")
        raise typer.Exit(2)
    _change(name, subject=subject)


@users.command()
def unlink(name: UserName) -> None:
    """Let nobody of the provider sign in as a user any more; their browsers are signed out."""
    _change(name, subject="")


@users.command()
def promote(name: UserName) -> None:
    """Make a user an admin of the service."""
    _change(name, admin=True)


@users.command()
def demote(name: UserName) -> None:
    """Let a user be an admin no more."""
    _change(name, admin=False)


@projects.command(name="list")
def list_projects(as_json: AsJson = False) -> None:
    """List the projects that you see."""
    with server_client() as client:
        found = client.accounts.projects()
    if as_json:
        return print_json(found)
    rows = [(project["name"], project["role"] or "") for project in found]
    return table(("Name", "You are"), rows, "There is no project.")


@projects.command(name="create")
def create_project(name: ProjectName) -> None:
    """Make a project, as its first admin. `SAF_PROJECT=NAME saf submit …` submits to it."""
    with server_client() as client:
        client.accounts.add_project(name)


@projects.command(name="delete")
def delete_project(name: ProjectName) -> None:
    """Delete a project that nothing belongs to."""
    with server_client() as client:
        client.accounts.delete_project(name)


@projects.command(name="members")
def list_members(name: ProjectName, as_json: AsJson = False) -> None:
    """List who belongs to a project, and as what."""
    with server_client() as client:
        found = client.accounts.project(name)["members"]
    if as_json:
        return print_json(found)
    return table(("User", "Role"), [(each["user"], each["role"]) for each in found], "Nobody.")


@projects.command(name="add")
def add_member(
    name: ProjectName,
    user: UserName,
    role: Annotated[
        str, typer.Option(help="viewer: sees; member: adds, changes their own; admin: all.")
    ] = "member",
) -> None:
    """Let a user belong to a project, or change their role."""
    with server_client() as client:
        client.accounts.put_member(name, user, role)


@projects.command(name="remove")
def remove_member(name: ProjectName, user: UserName) -> None:
    """Let a user belong to a project no more; what is theirs stays in it."""
    with server_client() as client:
        client.accounts.remove_member(name, user)


WebhookId = Annotated[str, typer.Argument(metavar="WEBHOOK", help="Its id.")]
EVENTS = (
    *("job.succeeded", "job.failed", "job.cancelled", "job.paused", "sweep.ended"),
    *("dataset.ready", "dataset.invalid", "dataset.needs_choice"),
)


@webhooks.command(name="add")
def add_webhook(
    url: Annotated[str, typer.Argument(help="Where messages are sent to, or mailto:ADDRESS.")],
    event: Annotated[
        list[str], typer.Option(help=f"One of {', '.join(EVENTS)}; repeatable. By default all.")
    ] = [],  # noqa: B006
    sweep_jobs: Annotated[
        bool | None,
        typer.Option(help="Tell it of each job of a sweep too; by default a mail box is not."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a webhook, and print the secret that its messages are signed with, once. A mail box
    (mailto:anna@example.org) is sent mails, once it is known whose it is."""
    with server_client() as client:
        made = client.webhooks.add(url, event or EVENTS, sweep_jobs=sweep_jobs)
    if as_json:
        return print_json(made)
    waits = "follow the link in the mail that was sent there" if made["secret"] is None else ""
    said = "" if made["confirmed_at"] else waits
    return say("\n".join(filter(None, (made["id"], made["secret"] or said))))


@webhooks.command(name="list")
def list_webhooks(as_json: AsJson = False) -> None:
    """List webhooks."""
    with server_client() as client:
        found = client.webhooks.list()
    if as_json:
        return print_json(found)
    rows = [
        (each["id"], each["url"], " ".join(each["events"]), "off" if each["disabled_at"] else "")
        for each in found
    ]
    return table(("Id", "Address", "Told of", ""), rows, "There is no webhook.")


@webhooks.command(name="enable")
def enable_webhook(webhook_id: WebhookId) -> None:
    """Let one that was disabled be told again; what waits is sent."""
    with server_client() as client:
        client.webhooks.change(webhook_id, enabled=True)
    say(f"{webhook_id} is told again")


@webhooks.command(name="test")
def test_webhook(webhook_id: WebhookId) -> None:
    """Send a test message; `deliveries` says what became of it."""
    with server_client() as client:
        say(client.webhooks.test(webhook_id)["id"])


@webhooks.command(name="deliveries")
def list_deliveries(webhook_id: WebhookId, as_json: AsJson = False) -> None:
    """List what was sent, the newest first."""
    with server_client() as client:
        found = list(client.webhooks.deliveries(webhook_id))
    if as_json:
        return print_json(found)
    rows = [(each["id"], each["type"], str(each["tries"]), _became(each)) for each in found]
    return table(("Id", "Type", "Tries", ""), rows, "Nothing was sent.")


@webhooks.command(name="remove")
def remove_webhook(webhook_id: WebhookId) -> None:
    """Remove a webhook, and what of its messages has not arrived."""
    with server_client() as client:
        client.webhooks.remove(webhook_id)


def _became(delivery: dict[str, Any]) -> str:
    if delivery["delivered_at"]:
        return f"arrived {moment(delivery['delivered_at'])}"
    if delivery["next_at"]:
        return f"{delivery['error'] or 'waits'}; next try {moment(delivery['next_at'])}"
    return f"given up: {delivery['error']}"


def _change(name: str, **changes: Any) -> None:
    with server_client() as client:
        client.accounts.change_user(name, **changes)


def _until(key: dict[str, Any]) -> str:
    if key["revoked_at"]:
        return f"revoked {moment(key['revoked_at'])}"
    return moment(key["expires_at"]) if key["expires_at"] else "never"
