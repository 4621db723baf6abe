"""Where relay keeps its state, and how it is told to."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """What the command line and the environment say."""

    home: Path
    environ: Mapping[str, str]
    debug: bool = False


def home_folder(option: Path | None, environ: Mapping[str, str]) -> Path:
    """`--home`, else `RELAY_HOME`, else the platform's folder for application data."""
    if option is not None:
        return option
    if environ.get("RELAY_HOME"):
        return Path(environ["RELAY_HOME"])
    from platformdirs import user_data_path

    return user_data_path("relay", appauthor=False)
