"""Selects the environment variables to write into the (world-readable) service file; never secrets."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.app.notify.config import FILE_NAME, VARIABLE
from orchestrator.app.service.units import Start
from orchestrator.base.errors import BadInput
from orchestrator.kaggle.credentials import Method, find_credentials

HANDED_ON = (
    *("KAGGLE_CONFIG_DIR", "XDG_CONFIG_HOME", "RELAY_KAGGLE_URL", "KAGGLE_API_ENVIRONMENT"),
    *("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
)
"""Variables that are copied into the service file if set: locations of files, and network settings."""

INTO_FILES = {
    Method.TOKEN: '(umask 077; mkdir -p ~/.kaggle; printf %s "$KAGGLE_API_TOKEN" > ~/.kaggle/access_token)',
    Method.KEY: (
        '(umask 077; mkdir -p ~/.kaggle; printf \'{"username":"%s","key":"%s"}\' "$KAGGLE_USERNAME" "$KAGGLE_KEY" '
        "> ~/.kaggle/kaggle.json)"
    ),
    Method.LOGIN: "kaggle auth login",
}


def _into_file(method: Method) -> str:
    """Return the command that writes the credentials to a file; Windows' shells have none that keeps them private."""
    return INTO_FILES[Method.LOGIN] if sys.platform == "win32" else INTO_FILES[method]


@dataclass(frozen=True)
class ServiceEnvironment:
    """Start command of the service, with warnings about what its environment lacks."""

    start: Start
    warnings: tuple[str, ...] = ()
    problem: str = ""
    """Why the service could not work; empty if it can."""


def inspect_environment(home: Path, environ: Mapping[str, str], user_home: Path) -> ServiceEnvironment:
    """Compare this shell's environment with the one that the service will have.

    Raises BadInput if no credentials are found at all.
    """
    passed, warnings = _passed_variables(environ)
    start = start_command(home, environ)
    here = find_credentials(environ, user_home)[0]
    try:
        there = find_credentials(passed, user_home)[0]
    except BadInput:
        problem = (
            f"your Kaggle credentials are only in this shell's environment ({here.source}), which the service does not see: "
            f"type {_into_file(here.method)} and install it again"
        )
        return ServiceEnvironment(start, tuple(warnings), problem)
    if here.source != there.source:
        warnings.append(
            f"the service does not see {here.source}, which is only in this shell's environment: it uses {there.source}"
        )
    if environ.get(VARIABLE):
        warnings.append(f"the service does not see {VARIABLE}: write the addresses into {home / FILE_NAME}")
    return ServiceEnvironment(start, tuple(warnings))


def start_command(home: Path, environ: Mapping[str, str]) -> Start:
    """Return the command and environment with which the service starts the daemon for this home folder."""
    return Start(
        Path(sys.executable).absolute(), home.absolute(), _installation_folder(), _passed_variables(environ)[0]
    )


def _passed_variables(environ: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    passed, warnings = {}, []
    for name in HANDED_ON:
        value = environ.get(name, "")
        if value and "@" in value and "://" in value:
            warnings.append(
                f"the service does not get {name}, since it holds a password: set it in the system's proxy settings"
            )
        elif value:
            passed[name] = value
    token = environ.get("KAGGLE_API_TOKEN", "").strip()
    if Path(token).is_absolute() and len(token) < 1000 and Path(token).is_file():
        passed["KAGGLE_API_TOKEN"] = token
    return passed, warnings


def _installation_folder() -> Path | None:
    """Return the folder of this relay installation; None if Python finds it from any working directory."""
    place = Path(__file__).resolve().parents[3]
    return None if any(entry and Path(entry).resolve() == place for entry in sys.path[1:]) else place
