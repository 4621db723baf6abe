"""What the service's file says really starts a daemon that finds its credentials, writes its log, and stops when it is told to."""

import configparser
import json
import shlex
import signal
import subprocess
from pathlib import Path

import pytest

from orchestrator.rehearsal.local_kaggle.server import LocalKaggle
from tests.rehearsal.laptop import Laptop, laptop

SECRETS = ("KAGGLE_API_TOKEN", "KAGGLE_KEY", "KAGGLE_USERNAME")


def credentials_in_a_file(mine: Laptop, kaggle: LocalKaggle) -> None:
    """The credentials move from the shell into `kaggle.json`."""
    folder = Path(mine.environ["HOME"]) / ".kaggle"
    folder.mkdir(mode=0o700)
    path = folder / "kaggle.json"
    path.write_text(json.dumps({"username": kaggle.owner, "key": kaggle.key}), encoding="utf-8")
    path.chmod(0o600)
    mine.environ = {name: value for name, value in mine.environ.items() if name not in SECRETS}


@pytest.mark.slow
def test_what_the_unit_says_starts_a_daemon_that_finishes_the_run(tmp_path: Path) -> None:
    with laptop(tmp_path) as (mine, kaggle):
        credentials_in_a_file(mine, kaggle)
        written = mine.relay("service", "install", "--systemd", "--no-start")
        assert written.returncode == 0, written.stderr
        unit = tmp_path / ".config" / "systemd" / "user" / "relay.service"
        environ = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
        parser = configparser.ConfigParser(interpolation=None, strict=False)
        parser.read(unit, encoding="utf-8")
        for line in unit.read_text(encoding="utf-8").splitlines():
            if line.startswith("Environment="):
                (assignment,) = shlex.split(line.removeprefix("Environment="))
                name, _, value = assignment.partition("=")
                environ[name] = value
        command = shlex.split(parser["Service"]["ExecStart"])
        place = parser["Service"].get("WorkingDirectory")
        daemon = subprocess.Popen(command, env=environ, cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            mine.until(mine.is_over, daemon)
            daemon.send_signal(signal.SIGTERM)
            assert daemon.wait(timeout=60.0) == 0
        finally:
            daemon.kill()
            daemon.wait()
        mine.assert_finished(kaggle)
        log = (mine.home / "logs" / "daemon.log").read_text(encoding="utf-8")
        assert "watches" in log.splitlines()[0]
        assert log.splitlines()[-1].endswith("stopped on request")
        assert kaggle.key not in log + unit.read_text(encoding="utf-8")
