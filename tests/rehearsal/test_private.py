"""What relay writes is its owner's alone, whatever the umask, and no secret is in any of it."""

import base64
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from orchestrator.rehearsal.local_kaggle.server import LocalKaggle
from tests.rehearsal.laptop import Laptop, laptop


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Laptop, LocalKaggle, list[bytes], list[str]]]:
    """A finished chain of a user whose umask hides nothing; what its sessions saw of the environment; what the home looked like."""
    before = os.umask(0)
    try:
        with laptop(tmp_path_factory.mktemp("private")) as (mine, kaggle):
            daemon = mine.daemon()
            seen: list[bytes] = []
            open_: list[str] = []
            while not mine.is_over():
                assert daemon.poll() is None, mine.told
                seen += environments(kaggle.world.directory)
                open_ += readable_by_others(mine.home)
            mine.assert_finished(kaggle)
            mine.off()
            yield mine, kaggle, seen, open_
    finally:
        os.umask(before)


def environments(root: Path) -> list[bytes]:
    """The environments of the processes that work below a folder, which are the sessions."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").resolve(strict=True).is_relative_to(root):
                found.append((process / "environ").read_bytes() + (process / "cmdline").read_bytes())
        except OSError:  # it has ended, or is another user's
            continue
    return found


def readable_by_others(home: Path) -> list[str]:
    """Files and folders that somebody else could open."""
    found = []
    for path in [home, *home.rglob("*")]:
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except FileNotFoundError:
            continue
        allowed = 0o700 if path.is_dir() else 0o600
        if mode & ~allowed:
            found.append(f"{path.relative_to(home)}: {mode:o}")
    return found


def forms(kaggle: LocalKaggle) -> Mapping[str, bytes]:
    """The secrets as they could be written down."""
    basic = f"{kaggle.owner}:{kaggle.key}".encode()
    plain = {"token": kaggle.token.encode(), "key": kaggle.key.encode()}
    encoded = {f"{name} in base64": base64.b64encode(value).rstrip(b"=") for name, value in plain.items()}
    return {**plain, **encoded, "both in base64": base64.b64encode(basic).rstrip(b"=")}


def secrets_in(text: bytes, kaggle: LocalKaggle) -> list[str]:
    """Names of the secrets that it holds."""
    return [name for name, secret in forms(kaggle).items() if secret in text]


@pytest.mark.slow
def test_every_file_of_relays_is_its_owners_alone_while_it_works_and_afterwards(
    chain: tuple[Laptop, LocalKaggle, list[bytes], list[str]],
) -> None:
    mine, _, _, open_ = chain
    assert open_ == []
    assert readable_by_others(mine.home) == []
    kinds = {path.name.rpartition(".")[2] for path in mine.home.rglob("*") if path.is_file()}
    assert {"db", "json", "log", "bin"} <= kinds, kinds


@pytest.mark.slow
def test_no_secret_is_in_any_file_below_home_or_of_a_kernel(
    chain: tuple[Laptop, LocalKaggle, list[bytes], list[str]],
) -> None:
    mine, kaggle, _, _ = chain
    files = [path for place in (mine.home, kaggle.world.directory) for path in place.rglob("*") if path.is_file()]
    assert any(path.name == "script.py" for path in files)
    held = {str(path): found for path in files if (found := secrets_in(path.read_bytes(), kaggle))}
    assert held == {}
    with kaggle.world.at_now():
        sources = [version.save.text for kernel in kaggle.world.kernels.all() for version in kernel.versions]
    assert sources
    assert not any(secrets_in(text.encode(), kaggle) for text in sources)


@pytest.mark.slow
def test_no_secret_is_in_a_sessions_environment(chain: tuple[Laptop, LocalKaggle, list[bytes], list[str]]) -> None:
    _, kaggle, seen, _ = chain
    assert any(b"RELAY_STAND_IN" in environment for environment in seen), "no session was seen at work"
    assert not any(secrets_in(environment, kaggle) for environment in seen)


@pytest.mark.slow
def test_no_command_prints_a_secret(chain: tuple[Laptop, LocalKaggle, list[bytes], list[str]]) -> None:
    mine, kaggle, _, _ = chain
    shown = [mine.told.encode()]
    for command in (
        ["status"],
        ["status", "--json"],
        ["logs", "count", "--raw"],
        ["daemon", "--once"],
        ["artifacts", "count"],
    ):
        done = mine.relay(*command)
        assert done.returncode == 0, done.stderr
        shown.append((done.stdout + done.stderr).encode())
    assert not any(secrets_in(text, kaggle) for text in shown)


@pytest.mark.slow
def test_a_home_that_is_open_to_others_is_named_and_left_as_it_is(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    home.chmod(0o755)
    told = Laptop(tmp_path, {}).relay("status")
    assert f"is open to other users of this machine: type `chmod 700 {home}`" in " ".join(told.stdout.split())
    assert stat.S_IMODE(home.stat().st_mode) == 0o755
