"""`relay notify`: whom relay tells and of what, and whether a message arrives."""

from collections.abc import Callable, Mapping
from pathlib import Path

from orchestrator.errors import BadInput
from orchestrator.notify import config

TITLE, BODY = "relay: a test", "Messages from relay arrive here.\nlook: relay status"


def show(home: Path, environ: Mapping[str, str], say: Callable[[str], None]) -> None:
    """Say what is configured. Raises BadInput where it is not as it should be."""
    addresses = config.read(home, environ)
    if addresses is None:
        say(f"nobody is told: {config.remedy(home)}")
        return
    from orchestrator.notify.services import services  # apprise, only where there is something to send

    for warning in addresses.warnings:
        say(warning)
    say(f"{addresses.source} names")
    for service in services(addresses):
        say(f"  {service.name}  {service.shown}")
    say("which the daemon tells when")
    for event in config.EVENTS:
        if event in addresses.events:
            say(f"  {event}: {config.EVENTS[event]}")
    say("type: relay notify --test")


def test(home: Path, environ: Mapping[str, str], say: Callable[[str], None]) -> int:
    """Send one message to each service; the exit status is 1 where one did not take it. Raises BadInput where there is none."""
    addresses = config.read(home, environ)
    if addresses is None:
        raise BadInput(f"nobody is configured to be told: {config.remedy(home)}")
    from orchestrator.notify.courier import DEADLINE_S, Sending
    from orchestrator.notify.services import Message, services

    status = 0
    for service in services(addresses):
        sending = Sending(service, Message(TITLE, BODY))
        sending.start()
        sending.join(DEADLINE_S)
        problem = f"it did not answer within {DEADLINE_S:.0f} s" if sending.is_alive() else sending.problem
        say(f"{service.name}  {service.shown}  {f'did not take it: {problem}' if problem else 'took it'}")
        status = 1 if problem else status
    return status
