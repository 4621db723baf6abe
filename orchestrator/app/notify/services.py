"""Adapter for apprise, imported nowhere else: turns addresses into services, and never reveals their secrets."""

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
    """Settings for apprise.

    A timeout of 0 keeps each send in the calling thread: a pool thread that apprise gave up on would keep the program
    from ending.
    """

    _service_timeout = 0.0


@dataclass(frozen=True)
class Message:
    """A message for a person: a headline and a few sentences."""

    title: str
    body: str
    tone: Tone = "info"


@dataclass(frozen=True)
class NotificationService:
    """A configured service that delivers messages."""

    name: str
    shown: str
    """The address without its secrets. It is unique among the configured services."""
    send: Callable[[Message], str]
    """Sends a message. Returns the problem as a sentence without secrets; empty on success. May block."""


def services(addresses: Addresses) -> list[NotificationService]:
    """Return every configured service. Raises BadInput if apprise does not support an address."""
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
    shown = mask_address(plugin.url(privacy=True))
    secrets = secret_parts(written, shown) | secret_parts(plugin.url(privacy=False).partition("?")[0], shown)
    same = sum(other == shown or other.startswith(f"{shown} (") for other in others)

    def send(message: Message) -> str:
        with CapturedLog() as heard:
            kind = apprise.NotifyType(message.tone)
            text = apprise.NotifyFormat.TEXT
            taken = line.notify(body=message.body, title=message.title, notify_type=kind, body_format=text)
        return "" if taken else redact_reason(heard.reason, secrets)

    return NotificationService(str(plugin.service_name), f"{shown} ({same + 1})" if same else shown, send)


def mask_address(url: str) -> str:
    """Return an address without its secrets: only the kind and the server. `url` is apprise's own masked form."""
    scheme, _, rest = url.partition("://")
    place = rest.split("/")[0].split("?")[0].rpartition("@")[2]
    server = "." in place or ":" in place or place == "localhost"
    return f"{scheme}://{place if server or not place else place[0] + '…'}/…"


def secret_parts(url: str, shown: str) -> set[str]:
    """Return the parts of an address that may be secret: every word that its shown form lacks."""
    words = {word for text in (url, unquote(url)) for word in re.split(r"[^\w.-]+", text)}
    return {word for word in words if len(word) >= 4 and word not in shown}


def redact_reason(reason: str, secrets: set[str]) -> str:
    """Remove every part of the address from a service's error message."""
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
    """Context manager that captures apprise's warnings of this thread."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._said: list[str] = []
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self._said.append(record.getMessage())

    def __enter__(self) -> "CapturedLog":
        logger = logging.getLogger("apprise")
        logger.disabled = False  # set to True when the surrounding program configures its logging with `dictConfig`
        logger.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("apprise").removeHandler(self)

    @property
    def reason(self) -> str:
        """The last warning, on one line."""
        said = " ".join(self._said[-1].split()) if self._said else "it did not say why"
        return said.rstrip(".")


def _silence() -> None:
    """Keep apprise's log from other handlers, since it may contain addresses; only `CapturedLog` gets it."""
    logger = logging.getLogger("apprise")
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
