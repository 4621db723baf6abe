"""The service that keeps the daemon running: what is written, what the system is asked, and what a person is told."""

import configparser
import json
import os
import plistlib
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.app.service.units import Start, launchd_plist, systemd_unit
from orchestrator.base.errors import BadInput
from state.store import Store
from tests.contract.test_commands import relay

ROOT = Path(__file__).parents[2]
KEY = "0123456789abcdef0123456789abcdef"
FAKE = """#!/bin/sh
echo "$(basename "$0") $*" >> "{log}"
case "$*" in
  --version) echo "systemd {version}" ;;
  *is-active*|*print*) [ -e "{folder}/running" ] ;;
  *restart*|*" start "*|*bootstrap*) touch "{folder}/running" ;;
  *disable*|*bootout*) rm -f "{folder}/running" ;;
  *Linger*) echo "Linger={linger}" ;;
esac
"""


@dataclass
class Desk:
    """A user's folder, and the programs of a system that note what they are asked."""

    folder: Path
    environ: dict[str, str]

    def relay(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return relay(*arguments, home=self.folder / "home", environ={**self.environ, **environ}, cwd=ROOT)

    @property
    def unit(self) -> Path:
        return self.folder / ".config" / "systemd" / "user" / "relay.service"

    @property
    def asked(self) -> list[str]:
        log = self.folder / "asked"
        return log.read_text().splitlines() if log.exists() else []

    def programs(self, version: int = 252, linger: str = "no") -> None:
        """Have a systemctl, a loginctl and a launchctl that do as they are told."""
        for name in ("systemctl", "loginctl", "launchctl"):
            path = self.folder / "bin" / name
            text = FAKE.format(log=self.folder / "asked", folder=self.folder, version=version, linger=linger)
            path.write_text(text)
            path.chmod(0o755)

    def no_bus(self) -> None:
        """Have a systemctl as it is in a container."""
        path = self.folder / "bin" / "systemctl"
        path.write_text(
            '#!/bin/sh\n[ "$1" = --version ] && echo "systemd 252" && exit\necho "Failed to connect to bus" >&2\nexit 1\n'
        )
        path.chmod(0o755)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    (tmp_path / "bin").mkdir()
    (tmp_path / ".kaggle").mkdir(mode=0o700)
    credentials = tmp_path / ".kaggle" / "kaggle.json"
    credentials.write_text(f'{{"username": "me", "key": "{KEY}"}}')
    credentials.chmod(0o600)
    found = Desk(tmp_path, {"PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"})
    found.programs()
    return found


def read(unit: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(unit, encoding="utf-8")
    return parser


@pytest.mark.slow
def test_install_writes_the_unit_and_starts_it_now_and_at_each_login(desk: Desk) -> None:
    done = desk.relay("service", "install", "--systemd")
    assert done.returncode == 0, done.stdout + done.stderr
    service = read(desk.unit)["Service"]
    command = shlex.split(service["ExecStart"])
    assert Path(command[0]).is_absolute()
    assert command[1:] == ["-m", "orchestrator", "--home", str(desk.folder / "home"), "daemon", "--log-file"]
    assert (service["Restart"], service["RestartPreventExitStatus"], service["UMask"]) == ("on-failure", "2", "0077")
    assert read(desk.unit)["Install"]["WantedBy"] == "default.target"
    assert [line for line in desk.asked if "is-active" not in line and "--version" not in line] == [
        "systemctl --user daemon-reload",
        "systemctl --user enable relay.service",
        "systemctl --user restart relay.service",
        f"loginctl show-user {os.getuid()} --property=Linger",
    ]
    assert "loginctl enable-linger" in done.stdout
    assert KEY not in desk.unit.read_text() + done.stdout


@pytest.mark.slow
def test_install_twice_changes_nothing_and_uninstall_takes_it_away(desk: Desk) -> None:
    desk.relay("service", "install", "--systemd")
    before = desk.unit.read_text(), desk.unit.stat().st_mtime_ns
    again = desk.relay("service", "install", "--systemd")
    assert again.returncode == 0
    assert "is as it should be" in again.stdout
    assert (desk.unit.read_text(), desk.unit.stat().st_mtime_ns) == before
    assert desk.asked.count("systemctl --user restart relay.service") == 1
    assert desk.relay("service", "status", "--systemd").returncode == 0
    found = json.loads(desk.relay("service", "status", "--systemd", "--json").stdout)
    assert (found["file"], found["ours"], found["running"], found["command"]) == (str(desk.unit), True, True, None)
    gone = desk.relay("service", "uninstall", "--systemd")
    assert gone.returncode == 0
    assert not desk.unit.exists()
    assert "systemctl --user disable --now relay.service" in desk.asked
    assert desk.relay("service", "status", "--systemd").returncode == 1
    assert desk.relay("service", "uninstall", "--systemd").returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_a_unit_that_relay_did_not_write_is_left_alone(desk: Desk, command: str) -> None:
    desk.unit.parent.mkdir(parents=True)
    desk.unit.write_text("[Service]\nExecStart=/bin/true\n")
    refused = desk.relay("service", command, "--systemd")
    assert refused.returncode == 2
    assert "was not written by relay: move it away" in refused.stderr
    assert desk.unit.read_text() == "[Service]\nExecStart=/bin/true\n"
    assert not any("restart" in line or "disable" in line for line in desk.asked)


@pytest.mark.slow
def test_where_no_user_manager_answers_it_says_what_to_type_instead(desk: Desk) -> None:
    desk.no_bus()
    told = desk.relay("service", "install", "--systemd")
    assert told.returncode == 1
    assert desk.unit.exists()
    assert "Failed to connect to bus" in told.stdout
    assert "  systemctl --user restart relay.service" in told.stdout.splitlines()
    assert any(line.startswith("  ") and "nohup" in line for line in told.stdout.splitlines())


@pytest.mark.slow
def test_no_start_only_writes(desk: Desk) -> None:
    told = desk.relay("service", "install", "--systemd", "--no-start")
    assert told.returncode == 0
    assert desk.unit.exists()
    assert desk.asked == ["systemctl --version"]
    assert "systemctl --user enable relay.service" in told.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"KAGGLE_API_TOKEN": "KGAT_s3cr3t"}, "~/.kaggle/access_token"),
        ({"KAGGLE_USERNAME": "me", "KAGGLE_KEY": "s3cr3t"}, "~/.kaggle/kaggle.json"),
    ],
    ids=["token", "key"],
)
def test_credentials_that_only_this_shell_has_are_not_written_down_and_the_remedy_works(
    desk: Desk, given: dict[str, str], says: str
) -> None:
    shutil.rmtree(desk.folder / ".kaggle")
    told = desk.relay("service", "install", "--systemd", **given)
    assert told.returncode == 1
    assert "only in this shell's environment" in told.stdout
    assert says in told.stdout
    assert "s3cr3t" not in told.stdout + told.stderr + desk.unit.read_text()
    assert not any("restart" in line for line in desk.asked)
    remedy = told.stdout[told.stdout.index("(umask") : told.stdout.index(" and install it again")]
    subprocess.run(["sh", "-c", remedy], env={**desk.environ, "HOME": str(desk.folder), **given}, check=True)
    assert desk.relay("service", "install", "--systemd", **given).returncode == 0
    (kept,) = (desk.folder / ".kaggle").iterdir()
    assert kept.stat().st_mode & 0o077 == 0


@pytest.mark.slow
def test_a_key_in_the_shell_that_overrules_the_file_is_told(desk: Desk) -> None:
    told = desk.relay("service", "install", "--systemd", KAGGLE_API_TOKEN="KGAT_s3cr3t", RELAY_NOTIFY="json://s3cr3t")
    assert told.returncode == 0
    assert "does not see KAGGLE_API_TOKEN" in told.stdout
    assert f"it uses {desk.folder / '.kaggle' / 'kaggle.json'}" in told.stdout
    assert "does not see RELAY_NOTIFY" in told.stdout
    assert "s3cr3t" not in told.stdout + desk.unit.read_text()


@pytest.mark.slow
def test_a_proxy_with_a_password_is_not_written_down(desk: Desk) -> None:
    proxies = {"HTTPS_PROXY": "http://me:s3cr3t@proxy:3128", "HTTP_PROXY": "http://proxy:3128"}
    told = desk.relay("service", "install", "--systemd", **proxies)
    assert "does not get HTTPS_PROXY" in told.stdout
    assert 'Environment="HTTP_PROXY=http://proxy:3128"' in desk.unit.read_text()
    assert "s3cr3t" not in desk.unit.read_text() + told.stdout


@pytest.mark.slow
def test_without_any_credentials_nothing_is_written(desk: Desk) -> None:
    shutil.rmtree(desk.folder / ".kaggle")
    refused = desk.relay("service", "install", "--systemd")
    assert refused.returncode == 2
    assert not desk.unit.exists()
    assert not (desk.folder / "home").exists()


@pytest.mark.slow
def test_a_daemon_that_works_already_is_named_and_no_second_one_is_started(desk: Desk) -> None:
    from datetime import UTC, datetime

    store = Store.at(desk.folder / "home")
    store.take_lease("elsewhere/77/1", datetime.now(UTC), 60)
    told = desk.relay("service", "install", "--systemd")
    assert told.returncode == 1
    assert "a daemon works on" in told.stdout
    assert "process 77 on elsewhere" in told.stdout
    assert not any("restart" in line for line in desk.asked)


@pytest.mark.slow
def test_the_configuration_folder_that_the_user_chose_is_honoured(desk: Desk) -> None:
    config = desk.folder / "elsewhere"
    assert desk.relay("service", "install", "--systemd", XDG_CONFIG_HOME=str(config)).returncode == 0
    assert (config / "systemd" / "user" / "relay.service").exists()
    assert not desk.unit.exists()


@pytest.mark.slow
def test_launchd_gets_a_property_list_and_starts_nothing_anew_that_another_start_cannot_help(desk: Desk) -> None:
    done = desk.relay("service", "install", "--launchd")
    assert done.returncode == 0, done.stdout + done.stderr
    path = desk.folder / "Library" / "LaunchAgents" / "relay.daemon.plist"
    agent = plistlib.loads(path.read_bytes())
    assert agent["KeepAlive"] == {"SuccessfulExit": False}
    assert agent["Umask"] == 0o077
    assert f"launchctl bootstrap gui/{os.getuid()} {path}" in desk.asked
    command = agent["ProgramArguments"]
    shutil.rmtree(desk.folder / ".kaggle")
    ended = subprocess.run(command, env={"HOME": str(desk.folder)}, cwd=ROOT, capture_output=True, check=False)
    assert ended.returncode == 0
    assert b"credentials" in ended.stderr
    assert desk.relay("service", "uninstall", "--launchd").returncode == 0
    assert not path.exists()


@pytest.mark.slow
def test_show_prints_the_file_and_writes_nothing(desk: Desk) -> None:
    told = desk.relay("service", "show", "--systemd")
    assert told.returncode == 0
    assert "[Service]" in told.stdout
    assert not desk.unit.exists()
    assert not (desk.folder / "home").exists()


# --- the files themselves ------------------------------------------------------


def odd(folder: Path) -> Start:
    """A start with all that has to be quoted."""
    python = folder / "a $b %d" / "python"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\n")
    python.chmod(0o755)
    return Start(python, folder / 'my "$home" 100 %', folder, {"NO_PROXY": "*.example, $x %y"})


@pytest.mark.parametrize("version", [252, 254])
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="this system has no systemd")
def test_systemd_accepts_the_unit(tmp_path: Path, version: int) -> None:
    unit = tmp_path / "relay.service"
    unit.write_text(systemd_unit(odd(tmp_path), version))
    environ = {"PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)}
    told = subprocess.run(
        ["systemd-analyze", "--user", "verify", str(unit)], env=environ, capture_output=True, text=True, check=False
    )
    known = [line for line in told.stderr.splitlines() if "relay.service" in line]
    newer = ("RestartSteps", "RestartMaxDelaySec")  # this machine's systemd may be older than the unit's
    assert [line for line in known if not any(word in line for word in newer)] == []


def test_a_newer_systemd_waits_longer_before_each_further_start(tmp_path: Path) -> None:
    start = odd(tmp_path)
    assert "RestartMaxDelaySec" in systemd_unit(start, 254)
    assert "RestartMaxDelaySec" not in systemd_unit(start, 252)
    assert f'ExecStart="{tmp_path}/a $b %%d/python" -m' in systemd_unit(start, 252)
    assert f'--home "{tmp_path}/my \\"$$home\\" 100 %%" daemon' in systemd_unit(start, 252)


def test_a_path_that_a_unit_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="line break"):
        systemd_unit(Start(Path("/usr/bin/python"), Path("/tmp/a\nb"), None, {}), 252)
    with pytest.raises(BadInput, match="quote or a backslash"):
        systemd_unit(Start(Path("/tmp/it's/python"), Path("/tmp"), None, {}), 252)


def test_a_property_list_holds_any_path(tmp_path: Path) -> None:
    start = odd(tmp_path)
    assert plistlib.loads(launchd_plist(start))["ProgramArguments"][0] == str(start.python)
