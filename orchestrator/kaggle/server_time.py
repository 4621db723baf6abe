"""What time it is by Kaggle's clock, as every answer of a web server says."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from orchestrator.kaggle.endpoint import limits_for, server_url
from orchestrator.kaggle.transport import BoundedSession, CallFailed, as_read, honest_errors

KAGGLE = "https://www.kaggle.com"


def server_date(environ: Mapping[str, str]) -> datetime | None:
    """The Date of one answer, whatever else it says; None where it has none. Needs no credentials, and sends none.

    Raises Transient where there is no answer.
    """
    url = server_url(environ) or KAGGLE
    try:
        with honest_errors(lambda text: text), BoundedSession(limits_for(url)) as session:
            answer = session.head(url, allow_redirects=False)
    except CallFailed as error:
        raise as_read(error, "the time at Kaggle") from None
    return read_date(answer.headers.get("Date", ""))


def read_date(text: str) -> datetime | None:
    """A Date header as an aware time; None for anything that is none."""
    try:
        found = parsedate_to_datetime(text)
    except (TypeError, ValueError, OverflowError):
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
