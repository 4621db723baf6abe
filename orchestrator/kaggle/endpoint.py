"""Selects the server to call: Kaggle, or the one that RELAY_KAGGLE_URL names."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from orchestrator.base.called_server import URL_VARIABLE
from orchestrator.base.errors import BadInput
from orchestrator.kaggle.transport import TransportLimits, is_loopback

LOCAL_LIMITS = TransportLimits(connect_s=5.0, read_s=30.0, call_s=60.0, quiet_s=0.15, live_s=0.5, retry_s=0.2)
"""Limits for a server on this machine, which answers immediately or not at all."""


def limits_for(url: str | None) -> TransportLimits:
    """Return the transport limits for this server."""
    return LOCAL_LIMITS if url is not None and is_loopback(url) else TransportLimits()


def server_url(environ: Mapping[str, str]) -> str | None:
    """Return the server that RELAY_KAGGLE_URL names, or None for Kaggle. Raises BadInput if it is not a URL."""
    url = environ.get(URL_VARIABLE, "").strip().rstrip("/")
    if not url:
        return None
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good:
        raise BadInput(
            f"{URL_VARIABLE} is not an address: write it like http://127.0.0.1:8000, or unset it to use Kaggle."
        )
    if parts.scheme == "http" and not is_loopback(url):
        raise BadInput(
            f"{URL_VARIABLE} would send your Kaggle key unencrypted: use https, or an address of this machine."
        )
    return url
