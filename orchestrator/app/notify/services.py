"""The only importer of apprise: addresses become services that take a message, and none of their secrets is ever shown."""

import logging
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote

import apprise
import yaml

from orchestrator.app.notify.config import Addresses
from orchestrator.base.errors import BadInput

HIDDEN = "***"
REASON_MAX = 200

Tone = Literal["info", "success", "warning", "failure"]


class Asset(apprise.AppriseAsset):  # type: ignore[misc]
    """apprise's settings. A send stays in the thread that asks for it: one that apprise gave up would keep the program alive."""

    _service_timeout = 0.0


@dataclass(frozen=True)
class Message:
    """What a person reads: a headline and a few sentences."""

    title: str
    body: str
    tone: Tone = "info"


@dataclass(frozen=True)
class NotificationService:
    """One place where a person reads messages."""

    name: str
    shown: str
    """The address without its secrets: told from every other of this person's."""
    send: Callable[[Message], str]
    """Answers with what went wrong, a sentence without secrets; empty where the service took the message. May hang."""


def services(addresses: Addresses) -> list[NotificationService]:
    """Every service that is configured. Raises BadInput where apprise does not know an address."""
    _silence()
    asset = Asset(app_id="relay", app_desc="relay", app_url="", image_url_mask="", image_url_logo="", async_mode=False)
    found: list[NotificationService] = []
    for number, entry in enumerate(addresses.entries, 1):
        text = yaml.safe_dump({"urls": [entry]})
        plugins, _ = apprise.ConfigBase.config_parse_yaml(text, asset=asset)
        if not plugins:
            raise BadInput(f"{addresses.source}: {_unknown(number, entry)}")
        found += [_service(plugin, text, asset, [service.shown for service in found]) for plugin in plugins]
    return found


def _service(plugin: Any, written: str, asset: Any, others: Sequence[str]) -> NotificationService:
    line = apprise.Apprise(asset=asset)
    line.add(plugin)
    shown = masked(plugin.url(privacy=True))
    secrets = pieces(written, shown) | pieces(plugin.url(privacy=False).partition("?")[0], shown)
    same = sum(other == shown or other.startswith(f"{shown} (") for other in others)

    def send(message: Message) -> str:
        with CapturedLog() as heard:
            kind = apprise.NotifyType(message.tone)
            text = apprise.NotifyFormat.TEXT
            taken = line.notify(body=message.body, title=message.title, notify_type=kind, body_format=text)
        return "" if taken else redacted(heard.reason, secrets)

    return NotificationService(str(plugin.service_name), f"{shown} ({same + 1})" if same else shown, send)


def masked(url: str) -> str:
    """How an address is shown: its kind and its server, the rest is secret. `url` is apprise's own form with stars."""
    scheme, _, rest = url.partition("://")
    place = rest.split("/")[0].split("?")[0].rpartition("@")[2]
    server = "." in place or ":" in place or place == "localhost"
    return f"{scheme}://{place if server or not place else place[0] + '…'}/…"


def pieces(url: str, shown: str) -> set[str]:
    """The parts of an address that may be secret: every word of it that its shown form lacks."""
    words = {word for text in (url, unquote(url)) for word in re.split(r"[^\w.-]+", text)}
    return {word for word in words if len(word) >= 4 and word not in shown}


def redacted(reason: str, secrets: set[str]) -> str:
    """A service's complaint without any part of its address."""
    for secret in sorted(secrets, key=len, reverse=True):
        reason = reason.replace(secret, HIDDEN)
    return reason[:REASON_MAX]


def _unknown(number: int, entry: str | dict[str, Any]) -> str:
    address = entry if isinstance(entry, str) else str(next(iter(entry), ""))
    scheme = address.partition("://")[0] if "://" in address else ""
    kind = f" ({scheme}://…)" if scheme.isalnum() and len(scheme) < 20 else ""
    return (
        f"address {number}{kind} is not one that apprise can use on this machine: look it up at "
        "https://appriseit.com/services"
    )


class CapturedLog(logging.Handler):
    """What apprise complains of in this thread while the `with` block runs."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._said: list[str] = []
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self._said.append(record.getMessage())

    def __enter__(self) -> "CapturedLog":
        logger = logging.getLogger("apprise")
        logger.disabled = False  # which it is after a program around this set up its own logging with `dictConfig`
        logger.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("apprise").removeHandler(self)

    @property
    def reason(self) -> str:
        """The last complaint in one line."""
        said = " ".join(self._said[-1].split()) if self._said else "it did not say why"
        return said.rstrip(".")


def _silence() -> None:
    """What apprise logs may repeat an address: nobody gets it but `Heard`."""
    logger = logging.getLogger("apprise")
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
