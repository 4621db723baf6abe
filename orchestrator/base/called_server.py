"""Tells whether relay calls Kaggle itself or another server; light, since `relay status` asks it too."""

from collections.abc import Mapping
from urllib.parse import urlsplit

URL_VARIABLE = "RELAY_KAGGLE_URL"
KAGGLE_HOST = "kaggle.com"


def is_kaggle(environ: Mapping[str, str]) -> bool:
    """Return True if calls go to Kaggle itself; False if RELAY_KAGGLE_URL names another server or no address."""
    url = environ.get(URL_VARIABLE, "").strip()
    if not url:
        return True
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    return host == KAGGLE_HOST or host.endswith(f".{KAGGLE_HOST}")
