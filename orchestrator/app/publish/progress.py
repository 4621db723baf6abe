"""Messages for the person who waits while a model is published."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from orchestrator.platforms.port import Reached


class PublishReport(Protocol):
    """Receives sentences, and how many bytes of which file have been sent."""

    def say(self, sentence: str) -> None:
        """Tell what happens now."""

    def sending(self, sizes: Mapping[str, int]) -> AbstractContextManager[Reached]:
        """Show the progress of an upload of files of these sizes for as long as the block lasts."""
