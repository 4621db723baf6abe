"""Says in a few words why an HTTP exchange failed, from the exceptions of requests and urllib3."""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import requests
import urllib3

from stages.safe_text import whole_text

CAUSES_MAX = 8
"""Maximum number of exceptions in a chain that are looked at."""
_ERRNO = re.compile(r"\[Errno -?\d+\] ")


def network_reason(error: Exception, characters_max: int) -> str:
    """Return why the exchange failed: a few words for a common cause, else the exception's type and shortened text.

    The query of each URL is left out of that text: it may give access to a file.
    """
    host = _host(error)
    for cause in _causes(error):
        match cause:
            case urllib3.exceptions.NameResolutionError():
                return f"the name {host} cannot be resolved: is this machine online?"
            case urllib3.exceptions.NewConnectionError():
                why = _ERRNO.sub("", str(cause).rpartition(": ")[2])
                return f"{host} cannot be reached: {why[:1].lower()}{why[1:]}"
            case requests.ConnectTimeout() | urllib3.exceptions.ConnectTimeoutError():
                return f"{host} cannot be reached in time"
            case requests.ReadTimeout() | urllib3.exceptions.ReadTimeoutError():
                return f"no answer from {host} in time"
    text = re.sub(r"\?[^\s'\")]+", "?…", whole_text(f"{type(error).__name__}: {error}"))
    return text[:characters_max]


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the exception and those that it wraps: as its first argument, or as the `reason` of a retry."""
    current: object = error
    for _ in range(CAUSES_MAX):
        if not isinstance(current, BaseException):
            return
        yield current
        current = getattr(current, "reason", None) or (current.args[0] if current.args else None)


def _host(error: Exception) -> str:
    request = getattr(error, "request", None)
    found = urlsplit(str(getattr(request, "url", "") or "")).hostname
    return found or next((pool.host for each in _causes(error) if (pool := getattr(each, "pool", None))), "the server")
