"""A session's log for people."""

from collections.abc import Iterator

from orchestrator.files import Home
from orchestrator.kaggle.gateway import Gateway
from orchestrator.views.values import metrics_text
from stages.contract import Progress
from state.model import Session


def stored_log(home: Home, session: Session) -> Iterator[str]:
    """What the daemon has taken in so far."""
    path = home.log(session)
    if path.exists():
        yield from path.read_text(encoding="utf-8").splitlines()


def follow_log(gateway: Gateway, session: Session) -> Iterator[str]:
    """Straight from Kaggle, each line once, until the session ends."""
    for line in gateway.follow_log(session.slug, session.kernel_version):
        yield line.text


def readable(line: str) -> str:
    """A line as it is; a progress event as a sentence."""
    event = Progress.from_line(line)
    if event is None:
        return line
    words = {
        "step": f"{event.stage} step {event.step}/{event.target}  {metrics_text(event.metrics)}",
        "saved": f"saved {event.stage} step {event.step}",
        "stage": f"{event.stage} is done",
    }
    text = words.get(event.event, event.event)
    return f"[{event.at_s:8.1f} s] {text}{'  ' + event.note if event.note else ''}"
