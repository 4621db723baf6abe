"""Reads Kaggle's clock from the Date header of an HTTP response."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from orchestrator.kaggle.endpoint import limits_for, server_url
from orchestrator.kaggle.transport import BoundedSession, CallFailed, as_read, transport_errors

KAGGLE = "https://www.kaggle.com"


def server_date(environ: Mapping[str, str]) -> datetime | None:
    """Return the Date header of one response, whatever its status; None if it has none. Sends no credentials.

    Raises Transient if no response arrives.
    """
    url = server_url(environ) or KAGGLE
    try:
        with transport_errors(lambda text: text), BoundedSession(limits_for(url)) as session:
            answer = session.head(url, allow_redirects=False)
    except CallFailed as error:
        raise as_read(error, "the time at Kaggle") from None
    return read_date(answer.headers.get("Date", ""))


def read_date(text: str) -> datetime | None:
    """Parse a Date header into an aware UTC time; None if it is malformed."""
    try:
        found = parsedate_to_datetime(text)
    except (TypeError, ValueError, OverflowError):
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
