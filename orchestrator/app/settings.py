"""Where relay keeps its state, and how it is told to."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.base.errors import BadInput

HOME_BYTES_MAX = 440
"""SQLite opens no file with a name of more than 512 bytes, its logs beside the database and its backups included."""
PART_BYTES_MAX = 255
"""Of one folder's name, on all common file systems."""


@dataclass(frozen=True)
class Settings:
    """What the command line and the environment say."""

    home: Path
    environ: Mapping[str, str]
    debug: bool = False

    def __post_init__(self) -> None:
        """Raise BadInput for a home folder in which no database can be opened, because of its name alone."""
        path = os.path.abspath(self.home)  # noqa: PTH100  # not resolved: SQLite counts the name that it is given
        size_bytes = len(os.fsencode(path))
        if size_bytes > HOME_BYTES_MAX or any(len(os.fsencode(part)) > PART_BYTES_MAX for part in Path(path).parts):
            raise BadInput(
                f"relay's home folder has a name of {size_bytes:,} bytes, and SQLite opens a database only below one of at most "
                f"{HOME_BYTES_MAX} (each folder in it of at most {PART_BYTES_MAX}): name another folder with --home or RELAY_HOME"
            )


def home_folder(option: Path | None, environ: Mapping[str, str]) -> Path:
    """`--home`, else `RELAY_HOME`, else the platform's folder for application data."""
    if option is not None:
        return option
    if environ.get("RELAY_HOME"):
        return Path(environ["RELAY_HOME"])
    from platformdirs import user_data_path

    return user_data_path("relay", appauthor=False)
