"""Global settings: the home folder and the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.base.errors import BadInput

HOME_BYTES_MAX = 440
"""Maximum length of the home folder's path, in bytes. SQLite's limit is 512, for logs and backups too."""
PART_BYTES_MAX = 255
"""Maximum length of a path component on all common file systems, in bytes."""


@dataclass(frozen=True)
class Settings:
    """Settings from the command line and the environment."""

    home: Path
    environ: Mapping[str, str]
    debug: bool = False

    def __post_init__(self) -> None:
        """Raise BadInput if the path is too long for a database below it."""
        path = os.path.abspath(self.home)  # noqa: PTH100  # not resolved: SQLite counts the path as given
        size_bytes = len(os.fsencode(path))
        if size_bytes > HOME_BYTES_MAX or any(len(os.fsencode(part)) > PART_BYTES_MAX for part in Path(path).parts):
            raise BadInput(
                f"relay's home folder has a name of {size_bytes:,} bytes, and SQLite opens a database only below one of at most "
                f"{HOME_BYTES_MAX} (each folder in it of at most {PART_BYTES_MAX}): name another folder with --home or RELAY_HOME"
            )


def home_folder(option: Path | None, environ: Mapping[str, str]) -> Path:
    """Return `--home`, else `RELAY_HOME`, else the platform's folder for application data."""
    if option is not None:
        return option
    if environ.get("RELAY_HOME"):
        return Path(environ["RELAY_HOME"])
    from platformdirs import user_data_path

    return user_data_path("relay", appauthor=False)
