"""Signing in: the right credentials win, go only where they belong, and nothing of the machine's surroundings gets in the way."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.base.clock import VirtualClock
from orchestrator.base.errors import BadInput
from orchestrator.kaggle.client import KaggleGateway, connect
from orchestrator.kaggle.credentials import Credentials, Method
from orchestrator.platforms.port import FileWanted, OutputFile, Worker
from orchestrator.rehearsal.local_kaggle.faults import NO_FAULTS
from orchestrator.rehearsal.local_kaggle.sandbox import ScriptedSandbox
from orchestrator.rehearsal.local_kaggle.server import LocalKaggle
from tests.contract.scripted import Reply, Seen, answer, by_call, error, in_turn, scripted
from tests.contract.worlds import OWNER, PLAYED, QUICK, RULES, START, kernel, key_of

SLUG = "gsm-3f9a-s0001"
KEY = Credentials(method=Method.KEY, source="kaggle.json", username=OWNER, secret="the-key-0123")
TOKEN = Credentials(method=Method.TOKEN, source="KAGGLE_API_TOKEN", secret="KGAT_good")
STALE = Credentials(method=Method.TOKEN, source="access_token", secret="KGAT_stale")
LOGIN = Credentials(
    method=Method.LOGIN, source="credentials.json", username=OWNER, secret="short-1", refresh_token="refresh"
)

RUNNING = answer({"status": "RUNNING"})
QUOTA = answer({"tpuQuota": {"totalTimeAllowed": "72000s"}})


def introspect(seen: Seen) -> Reply:
    """Kaggle knows one token."""
    known = seen.json["token"] == TOKEN.secret
    return answer({"active": True, "username": OWNER} if known else {})


def local(root: Path) -> LocalKaggle:
    return LocalKaggle(root, VirtualClock(START), RULES, NO_FAULTS, ScriptedSandbox(lambda *_: PLAYED), owner=OWNER)


def gateway(url: str, *credentials: Credentials) -> KaggleGateway:
    return KaggleGateway(credentials, url, sleep=lambda _seconds: None, limits=QUICK)


# --- against the local Kaggle -------------------------------------------------


@pytest.mark.slow
def test_a_token_tells_whose_it_is(tmp_path: Path) -> None:
    with local(tmp_path) as kaggle:
        token = Credentials(method=Method.TOKEN, source="t", secret=kaggle.token)
        assert gateway(kaggle.url, token).owner() == OWNER


@pytest.mark.slow
def test_a_stale_token_gives_way_to_a_good_key(tmp_path: Path) -> None:
    with local(tmp_path) as kaggle:
        account = gateway(kaggle.url, STALE, key_of(kaggle))
        assert account.owner() == OWNER
        assert account.push(kernel(SLUG)).ref == f"{OWNER}/{SLUG}"


@pytest.mark.slow
def test_a_token_in_the_environment_never_beats_credentials_that_were_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_stale")
    with local(tmp_path) as kaggle:
        assert gateway(kaggle.url, key_of(kaggle)).find_kernel(SLUG) is None


def test_a_key_that_kaggle_refuses_is_the_users_to_mend(tmp_path: Path) -> None:
    with local(tmp_path) as kaggle, pytest.raises(BadInput, match=r"kaggle\.json.*kaggle\.com/settings"):
        gateway(kaggle.url, KEY).owner()


@pytest.mark.slow
def test_tokens_that_kaggle_refuses_are_all_named(tmp_path: Path) -> None:
    with local(tmp_path) as kaggle, pytest.raises(BadInput, match="access_token"):
        gateway(kaggle.url, STALE).owner()


@pytest.mark.slow
def test_relay_finds_its_way_by_the_environment_alone(tmp_path: Path) -> None:
    with local(tmp_path) as kaggle:
        account = connect(kaggle.environment(), tmp_path / "home")
        assert account.owner() == OWNER
        assert account.find_kernel(SLUG) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HTTP_PROXY", "http://127.0.0.1:9"),
        ("http_proxy", "http://127.0.0.1:9"),
        ("ALL_PROXY", "http://127.0.0.1:9"),
        ("KAGGLE_API_ENVIRONMENT", "NO_SUCH_PLACE"),
        ("KAGGLE_API_ENVIRONMENT", "PROD"),
        ("REQUESTS_CA_BUNDLE", "/no/such/file"),
    ],
)
def test_the_machines_surroundings_do_not_get_in_the_way_of_a_local_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, value)
    with local(tmp_path) as kaggle:
        assert gateway(kaggle.url, key_of(kaggle)).find_kernel(SLUG) is None


# --- against a script ---------------------------------------------------------


def test_credentials_go_to_kaggle_and_not_to_the_addresses_of_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login other password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with scripted(in_turn(RUNNING, Reply(body=b"bytes"))) as server:
        account = gateway(server.url, KEY)
        account.session(SLUG, 1)
        account.download(OutputFile(name="a", url=f"{server.url}/signed"), tmp_path / "a", FileWanted())
        asked, fetched = server.seen
    assert asked.headers["Authorization"] == KEY.authorization
    assert fetched.headers["Authorization"] is None


def test_a_datasets_file_on_another_host_is_fetched_without_credentials(tmp_path: Path) -> None:
    with scripted(in_turn(Reply(body=b"bytes"))) as storage:
        elsewhere = Reply(status=302, headers={"Location": f"{storage.url}/signed"})
        with scripted(in_turn(elsewhere)) as server:
            into = tmp_path / "a"
            gateway(server.url, KEY).download_dataset_file("gsm-3f9a-c0001", "state.bin", into, FileWanted())
            (asked,) = server.seen
        (fetched,) = storage.seen
    assert asked.headers["Authorization"] == KEY.authorization
    assert asked.json == {"ownerSlug": OWNER, "datasetSlug": "gsm-3f9a-c0001", "fileName": "state.bin"}
    assert (fetched.method, fetched.headers["Authorization"]) == ("GET", None)
    assert into.read_bytes() == b"bytes"


def test_a_datasets_file_that_comes_at_once_is_taken(tmp_path: Path) -> None:
    with scripted(in_turn(Reply(body=b"bytes"))) as server:
        gateway(server.url, KEY).download_dataset_file("gsm-3f9a-c0001", "a.bin", tmp_path / "a", FileWanted())
    assert (tmp_path / "a").read_bytes() == b"bytes"


def test_a_login_whose_token_ran_out_is_renewed_and_the_call_repeated() -> None:
    def status(seen: Seen) -> Reply:
        good = seen.headers["Authorization"] == "Bearer short-2"
        return RUNNING if good else error(401, "expired")

    renewed = answer({"token": "short-2", "expiresIn": 43200, "userName": OWNER})
    with scripted(by_call(GetKernelSessionStatus=status, GenerateAccessToken=renewed)) as server:
        account = gateway(server.url, LOGIN)
        assert account.session(SLUG, 1).worker is Worker.RUNNING
        (renewal,) = server.calls("GenerateAccessToken")
        assert account.session(SLUG, 1).worker is Worker.RUNNING
        assert len(server.calls("GenerateAccessToken")) == 1
    assert renewal.headers["Authorization"] is None
    assert renewal.json["refreshToken"] == "refresh"


def test_a_login_that_has_ended_is_the_users_to_mend() -> None:
    script = by_call(GetKernelSessionStatus=error(401, "expired"), GenerateAccessToken=error(401, "revoked"))
    with scripted(script) as server, pytest.raises(BadInput, match=r"kaggle\.com/settings"):
        gateway(server.url, LOGIN).session(SLUG, 1)


def test_a_login_without_a_token_gets_one_first() -> None:
    fresh = Credentials(method=Method.LOGIN, source="credentials.json", secret="", refresh_token="refresh")
    renewed = answer({"token": "short-2", "userName": OWNER})
    script = by_call(GenerateAccessToken=renewed, GetAcceleratorQuotaStatistics=QUOTA)
    with scripted(script) as server:
        assert gateway(server.url, fresh).owner() == OWNER


def test_a_busy_kaggle_does_not_make_good_credentials_bad() -> None:
    busy = in_turn(error(503, "busy"), error(429, "slow down"), answer({"active": True, "username": OWNER}))
    with scripted(by_call(IntrospectToken=busy)) as server:
        assert gateway(server.url, TOKEN).owner() == OWNER


def test_whose_token_it_is_is_asked_once() -> None:
    with scripted(by_call(IntrospectToken=introspect, GetKernelSessionStatus=RUNNING)) as server:
        account = gateway(server.url, STALE, TOKEN)
        for _ in range(3):
            account.session(SLUG, 1)
        assert [seen.json["token"] for seen in server.calls("IntrospectToken")] == ["KGAT_stale", "KGAT_good"]


def test_warnings_about_credentials_are_passed_on(tmp_path: Path) -> None:
    path = tmp_path / ".kaggle" / "kaggle.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"username": OWNER, "key": "k-0123"}))
    path.chmod(0o604)
    (warning,) = connect({}, tmp_path).warnings
    assert str(path) in warning


# --- the address --------------------------------------------------------------


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "kaggle", "ftp://127.0.0.1", "http://", "http://127.0.0.1:port"])
def test_an_address_that_is_none_is_named_with_its_variable(tmp_path: Path, url: str) -> None:
    environ = {"RELAY_KAGGLE_URL": url, "KAGGLE_API_TOKEN": "t-0123"}
    with pytest.raises(BadInput, match=r"RELAY_KAGGLE_URL.*http://127\.0\.0\.1:8000"):
        connect(environ, tmp_path)


def test_a_key_is_never_sent_in_the_clear_over_a_network(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="unencrypted"):
        connect({"RELAY_KAGGLE_URL": "http://192.0.2.7:8000", "KAGGLE_API_TOKEN": "t-0123"}, tmp_path)


@pytest.mark.slow
def test_a_call_prints_nothing_leaves_no_files_and_never_imports_the_kaggle_package(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from orchestrator.kaggle.client import connect;"
        "assert connect(os.environ, Path.home()).session('gsm-3f9a-s0001', 1).worker.value == 'running';"
        "assert 'kagglesdk' in sys.modules and 'kaggle' not in sys.modules"
    )
    with scripted(by_call(IntrospectToken=introspect, GetKernelSessionStatus=RUNNING)) as server:
        environ = {"HOME": str(tmp_path), "KAGGLE_API_TOKEN": TOKEN.secret, "RELAY_KAGGLE_URL": server.url}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environ, cwd=Path.cwd(), capture_output=True, text=True, check=False
        )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []
