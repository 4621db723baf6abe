"""One Chromium for all tests of a module; pages that may ask this machine for their own files and nobody for anything."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
MISSING = "there is no Chromium: apt-get install -y --no-install-recommends chromium"


@dataclass
class Watched:
    """A page, and everything that it did which a page of ours must not do."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    """Errors on the console and in scripts."""
    asked: list[str] = field(default_factory=list)
    """Every address that was asked for."""
    refused: list[str] = field(default_factory=list)
    """Those of them that are not this machine's, none of which was let through."""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """The system's browser; without it the tests are skipped, except where CI is set: there they fail."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium: Any) -> Iterator[Callable[..., Watched]]:
    """Open an address in a fresh window: `opened(url, width=390, color_scheme="dark")`."""
    contexts = []

    def open_(url: str, width: int = 1280, height: int = 900, **options: Any) -> Watched:
        context = chromium.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        watched = Watched(context.new_page())
        watched.page.on("console", lambda message: _heard(watched, message))
        watched.page.on("pageerror", lambda error: watched.complaints.append(str(error)))
        address = urlsplit(url)
        home = f"http://{address.netloc}/" if address.netloc else url
        context.route("**/*", lambda route: _let_through(route, home, watched))
        watched.page.goto(url)
        return watched

    yield open_
    for context in contexts:
        context.close()


def _heard(watched: Watched, message: Any) -> None:
    if message.type in ("error", "warning"):
        watched.complaints.append(message.text)


def _let_through(route: Any, home: str, watched: Watched) -> None:
    url = route.request.url
    watched.asked.append(url)
    if url.startswith(home):
        route.continue_()
    else:
        watched.refused.append(url)
        route.abort()


@pytest.fixture
def screenshots(tmp_path: Path) -> Path:
    """Where pictures are left to be looked at: the folder that RELAY_SCREENSHOTS names, else the test's own."""
    folder = Path(os.environ.get("RELAY_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
