"""What a mail says, in plain text, and what its headers are: nothing of a name gets into them but
as letters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, EmailPolicy
from email.utils import format_datetime, parseaddr
from typing import Any

from api.settings import Settings
from api.store.webhooks.outbox import CONFIRM, TEST
from api.webhooks.mail.addresses import box
from api.webhooks.mail.links import link
from saf.printable import lines, one_line

MOST_SUBJECT, MOST_TEXT = 150, 4000
_PAGES = {"job": "jobs", "sweep": "sweeps", "dataset": "datasets"}
_KINDS = {"job": "job", "sweep": "sweep", "dataset": "data set"}
_ENDED = {
    "paused": "is paused",
    "cancelled": "was cancelled",
    "ready": "is ready",
    "invalid": "cannot be used",
    "needs_choice": "waits for a choice of yours",
}


class _Policy(EmailPolicy):
    """As of SMTP, but that addresses in `<>` stay whole: encoded, nobody reads them."""

    def fold(self, name: str, value: str) -> str:
        if name.startswith("List-"):
            return f"{name}: {value}{self.linesep}"
        return str(super().fold(name, value))

    def fold_binary(self, name: str, value: str) -> bytes:
        if name.startswith("List-"):
            return self.fold(name, value).encode("ascii")
        return bytes(super().fold_binary(name, value))


POLICY = _Policy(linesep=SMTP.linesep)


def compose(
    settings: Settings, *, id_: str, webhook_id: str, secret: str, url: str, body: str
) -> EmailMessage:
    """The mail of a message of the outbox. The same id each time, so that one that comes twice is
    known to."""
    told = json.loads(body)
    stop = link(settings, "stop", webhook_id, secret)
    name, sender = parseaddr(settings.smtp_sender)
    mail = EmailMessage(policy=POLICY)
    mail["From"] = Address(display_name=name, addr_spec=sender)
    mail["To"] = Address(addr_spec=box(url))
    mail["Date"] = format_datetime(datetime.now(UTC))
    mail["Message-ID"] = f"<{id_}@{sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    if told["type"] == CONFIRM:
        subject, text = _confirmation(settings, told["data"], webhook_id, secret)
    else:
        subject, text = _news(settings, told["type"], told["data"])
        mail["List-Unsubscribe"] = f"<{stop}>"
        mail["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
        text += f"\n\n--\nYou are told of this by {settings.public_url}. To stop it: {stop}"
    mail["Subject"] = _short(one_line(subject), MOST_SUBJECT)
    mail.set_content(lines(text) + "\n")
    return mail


def _confirmation(
    settings: Settings, data: Mapping[str, Any], webhook_id: str, secret: str
) -> tuple[str, str]:
    who = f"{data['user']}, a user of {settings.public_url}," if data["user"] else "Somebody"
    return (
        "Is this your address?",
        f"{who} wants to be told at this address when trainings end.\n\n"
        "If that is you, confirm it within seven days:\n"
        f"{link(settings, 'confirm', webhook_id, secret)}\n\n"
        "If it is not, do nothing: no other mail comes.",
    )


def _news(settings: Settings, type_: str, data: Mapping[str, Any]) -> tuple[str, str]:
    """Subject and text of what happened."""
    if type_ == TEST:
        return "A test", "Mail of this service arrives at this address."
    kind = data["object"]
    name = data["name"] or data["id"]
    if kind == "sweep":
        happened = "has ended"
    else:
        happened = _ENDED.get(data["status"], data["status"])
    found = [f"The {_KINDS[kind]} {name} {happened}."]
    if kind == "sweep":
        found += [f"{status}: {number}" for status, number in sorted(data["counts"].items())]
    if error := data.get("error"):
        found += [f"Error: {error['message']}", f"What to do: {error.get('hint') or '-'}"]
    labels = {"dataset": "Data set", "lif_accuracy": "Accuracy of the LIF network"}
    labels |= {"verdict": "Verdict", "health": "Health"}
    for key, label in labels.items() if kind == "job" else ():
        if data.get(key) is not None:
            value = data[key]
            found.append(f"{label}: {value['status'] if isinstance(value, dict) else value}")
    found += [str(problem) for problem in data.get("problems", ())]
    text = _short("\n".join(found), MOST_TEXT)
    page = f"{settings.public_url}/{_PAGES[kind]}/{data['id']}"
    return f"{_KINDS[kind].capitalize()} {_short(name, 80)} {happened}", f"{text}\n\n{page}"


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
