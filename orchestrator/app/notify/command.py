"""`relay notify`: show which services are notified of which events, and send a test message."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator.app.notify import config
from orchestrator.base.errors import BadInput
from orchestrator.base.humanize import duration

TITLE, BODY = "relay: a test", "Messages from relay arrive here.\nlook: relay status"


@dataclass(frozen=True)
class ServiceTest:
    """A notification service, its address without secrets, and the result of a test; `accepted` is None without a test."""

    name: str
    address: str
    accepted: bool | None = None
    problem: str = ""


@dataclass(frozen=True)
class NotifySettings:
    """The notification settings; `source` is None if nothing is configured."""

    source: str | None
    services: tuple[ServiceTest, ...] = ()
    events: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def status(self) -> int:
        """Exit status: 1 if a service did not accept the test message."""
        return int(any(result.accepted is False for result in self.services))


def read_settings(home: Path, environ: Mapping[str, str], *, test: bool) -> NotifySettings:
    """Return the configured services and events, after a test message to each with `test`. Raises BadInput."""
    addresses = config.read(home, environ)
    if addresses is None and test:
        raise BadInput(f"no notification service is configured: {config.remedy(home)}")
    if addresses is None:
        return NotifySettings(None)
    from orchestrator.app.notify.services import services  # imports apprise, which is slow

    found = services(addresses)
    results = _test_all(found) if test else [ServiceTest(service.name, service.shown) for service in found]
    events = tuple(event for event in config.EVENTS if event in addresses.events)
    return NotifySettings(addresses.source, tuple(results), events, addresses.warnings)


def _test_all(found: list[Any]) -> list[ServiceTest]:
    from orchestrator.app.notify.sender import DEADLINE_S, Sending
    from orchestrator.app.notify.services import Message

    results = []
    for service in found:
        sending = Sending(service, Message(TITLE, BODY))
        sending.start()
        sending.join(DEADLINE_S)
        problem = f"it did not answer within {duration(DEADLINE_S)}" if sending.is_alive() else sending.problem
        results.append(ServiceTest(service.name, service.shown, not problem, problem))
    return results


def settings_lines(settings: NotifySettings, home: Path) -> list[str]:
    """Format the settings for a person, one string per line."""
    if settings.source is None:
        return [f"no notification service is configured: {config.remedy(home)}"]
    if any(result.accepted is not None for result in settings.services):
        return [*settings.warnings, *(_outcome(result) for result in settings.services)]
    return [
        *settings.warnings,
        f"{settings.source} configures",
        *(f"  {result.name}  {result.address}" for result in settings.services),
        "which the daemon notifies when",
        *(f"  {event}: {config.EVENTS[event]}" for event in settings.events),
        "type: relay notify --test",
    ]


def _outcome(result: ServiceTest) -> str:
    return f"{result.name}  {result.address}  {'accepted it' if result.accepted else f'did not accept it: {result.problem}'}"


def settings_document(settings: NotifySettings) -> dict[str, Any]:
    """Format the settings as JSON (docs/json.md)."""
    untested = settings.source is not None and all(result.accepted is None for result in settings.services)
    return {
        "format": 1,
        "source": settings.source,
        "services": [asdict(result) for result in settings.services],
        "events": list(settings.events),
        "warnings": list(settings.warnings),
        "command": "relay notify --test" if untested else None,
    }
