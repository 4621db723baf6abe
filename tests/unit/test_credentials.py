"""Credentials are found where Kaggle's own client finds them, and never show in any text."""

import base64
import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from orchestrator.base.errors import BadInput
from orchestrator.kaggle.credentials import Credentials, Method, find_credentials

TOKEN = "KGAT_5e1f00d5ecret5"
KEY = "0123456789abcdef0123456789abcdef"


def kaggle_file(home: Path, name: str, text: str) -> Path:
    path = home / ".kaggle" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)
    return path


def kaggle_json(directory: Path, **values: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "kaggle.json"
    path.write_text(json.dumps(values))
    path.chmod(0o600)
    return path


def only(found: tuple[Credentials, ...]) -> Credentials:
    (one,) = found
    return one


# --- where --------------------------------------------------------------------


def test_a_token_in_the_environment(tmp_path: Path) -> None:
    found = only(find_credentials({"KAGGLE_API_TOKEN": f" {TOKEN}\n"}, tmp_path))
    assert (found.method, found.secret, found.source) == (Method.TOKEN, TOKEN, "KAGGLE_API_TOKEN")
    assert found.username is None
    assert found.authorization == f"Bearer {TOKEN}"


def test_a_token_in_a_file_that_the_environment_names(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN + "\n")
    assert only(find_credentials({"KAGGLE_API_TOKEN": str(tmp_path / "token")}, tmp_path)).secret == TOKEN


def test_a_token_longer_than_a_file_name_may_be(tmp_path: Path) -> None:
    assert only(find_credentials({"KAGGLE_API_TOKEN": "t" * 5000}, tmp_path)).secret == "t" * 5000


@pytest.mark.parametrize("name", ["access_token", "access_token.txt"])
def test_a_token_in_the_home_folder(tmp_path: Path, name: str) -> None:
    kaggle_file(tmp_path, name, TOKEN + "\n")
    assert only(find_credentials({}, tmp_path)).secret == TOKEN


def test_a_notebooks_own_token_comes_first_and_counts_only_there(tmp_path: Path) -> None:
    (tmp_path / "v1").write_text("inside")
    environ = {"KAGGLE_API_V1_TOKEN": str(tmp_path / "v1"), "KAGGLE_API_TOKEN": TOKEN}
    assert only(find_credentials(environ, tmp_path)).secret == TOKEN
    inside = {**environ, "KAGGLE_KERNEL_RUN_TYPE": "Batch", "KAGGLE_DATA_PROXY_URL": "http://proxy"}
    assert only(find_credentials(inside, tmp_path)).secret == "inside"


def test_user_name_and_key_in_the_environment(tmp_path: Path) -> None:
    found = only(find_credentials({"KAGGLE_USERNAME": "alice", "KAGGLE_KEY": KEY}, tmp_path))
    assert (found.method, found.username, found.secret) == (Method.KEY, "alice", KEY)
    assert found.authorization == "Basic " + base64.b64encode(f"alice:{KEY}".encode()).decode()


def test_kaggle_json_in_the_home_folder(tmp_path: Path) -> None:
    path = kaggle_json(tmp_path / ".kaggle", username="alice", key=KEY)
    found = only(find_credentials({}, tmp_path))
    assert (found.username, found.secret, found.source, found.warnings) == ("alice", KEY, str(path), ())


def test_kaggle_json_in_the_folder_that_the_environment_names(tmp_path: Path) -> None:
    kaggle_json(tmp_path / ".kaggle", username="home", key=KEY)
    kaggle_json(tmp_path / "elsewhere", username="elsewhere", key=KEY)
    found = only(find_credentials({"KAGGLE_CONFIG_DIR": str(tmp_path / "elsewhere")}, tmp_path))
    assert found.username == "elsewhere"


@pytest.mark.skipif(sys.platform != "linux", reason="the XDG folders are a matter of Linux")
@pytest.mark.parametrize("named", [True, False])
def test_kaggle_json_in_the_xdg_folder_where_there_is_no_other(tmp_path: Path, named: bool) -> None:
    config = tmp_path / ("xdg" if named else ".config")
    kaggle_json(config / "kaggle", username="alice", key=KEY)
    environ = {"XDG_CONFIG_HOME": str(config)} if named else {}
    assert only(find_credentials(environ, tmp_path)).username == "alice"
    kaggle_json(tmp_path / ".kaggle", username="usual", key=KEY)
    assert only(find_credentials(environ, tmp_path)).username == "usual"


def test_the_environment_overrules_parts_of_kaggle_json(tmp_path: Path) -> None:
    kaggle_json(tmp_path / ".kaggle", username="alice", key=KEY)
    found = only(find_credentials({"KAGGLE_USERNAME": "bob"}, tmp_path))
    assert (found.username, found.secret) == ("bob", KEY)


def test_a_login_of_the_kaggle_program(tmp_path: Path) -> None:
    values = {"refresh_token": "refresh-5e1f", "access_token": TOKEN, "username": "alice", "scopes": []}
    kaggle_file(tmp_path, "credentials.json", json.dumps(values))
    found = only(find_credentials({}, tmp_path))
    assert (found.method, found.username, found.secret) == (Method.LOGIN, "alice", TOKEN)
    assert found.refresh_token == "refresh-5e1f"


def test_all_credentials_are_found_in_the_order_of_kaggles_client(tmp_path: Path) -> None:
    kaggle_file(tmp_path, "credentials.json", json.dumps({"refresh_token": "r"}))
    kaggle_file(tmp_path, "access_token", "second")
    kaggle_json(tmp_path / ".kaggle", username="alice", key=KEY)
    found = find_credentials({"KAGGLE_API_TOKEN": "first"}, tmp_path)
    assert [(one.method, one.secret) for one in found] == [
        (Method.TOKEN, "first"),
        (Method.KEY, KEY),
        (Method.LOGIN, ""),
    ]


# --- what is wrong ------------------------------------------------------------


def test_without_credentials_the_remedy_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"kaggle\.com/settings.*~/\.kaggle/access_token"):
        find_credentials({}, tmp_path)


@pytest.mark.parametrize("text", ["{", "username: alice", "[]", ""])
def test_a_kaggle_json_that_cannot_be_read_is_named(tmp_path: Path, text: str) -> None:
    path = kaggle_file(tmp_path, "kaggle.json", text)
    with pytest.raises(BadInput, match=r"is not JSON|is not a JSON object") as caught:
        find_credentials({}, tmp_path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("missing", ["username", "key"])
def test_a_kaggle_json_that_lacks_a_key_is_named_with_the_key(tmp_path: Path, missing: str) -> None:
    values = {name: value for name, value in {"username": "alice", "key": KEY}.items() if name != missing}
    path = kaggle_json(tmp_path / ".kaggle", **values)
    with pytest.raises(BadInput, match=f'lacks "{missing}"') as caught:
        find_credentials({}, tmp_path)
    assert str(path) in str(caught.value)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(("there", "missing"), [("USERNAME", "KEY"), ("KEY", "USERNAME")])
def test_half_of_a_pair_in_the_environment_is_named(tmp_path: Path, there: str, missing: str) -> None:
    with pytest.raises(BadInput, match=f"KAGGLE_{there} is set and KAGGLE_{missing} is not"):
        find_credentials({f"KAGGLE_{there}": "x"}, tmp_path)


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / ".kaggle" / "access_token"
    path.parent.mkdir()
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match="it is not text"):
        find_credentials({}, tmp_path)


def test_a_token_that_no_header_can_carry_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="KAGGLE_API_TOKEN"):
        find_credentials({"KAGGLE_API_TOKEN": "one\ntwo"}, tmp_path)


def test_a_broken_file_beside_good_credentials_is_a_warning(tmp_path: Path) -> None:
    path = kaggle_file(tmp_path, "kaggle.json", "{")
    found = only(find_credentials({"KAGGLE_API_TOKEN": TOKEN}, tmp_path))
    assert found.secret == TOKEN
    assert any(str(path) in warning for warning in found.warnings)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
def test_a_key_that_others_can_read_is_a_warning_and_works(tmp_path: Path) -> None:
    path = kaggle_json(tmp_path / ".kaggle", username="alice", key=KEY)
    path.chmod(0o644)
    found = only(find_credentials({}, tmp_path))
    assert found.secret == KEY
    assert found.warnings == (f"{path} is readable by other users of this machine: type `chmod 600 {path}`.",)


# --- secrecy ------------------------------------------------------------------


def test_no_text_of_credentials_shows_their_secrets() -> None:
    one = Credentials(method=Method.LOGIN, source="x", username="alice", secret=TOKEN, refresh_token="refresh-5e1f")
    shown = f"{one} {one!r} {[one]} {one!s}"
    assert TOKEN not in shown
    assert "refresh-5e1f" not in shown


def test_every_form_of_a_secret_is_redacted() -> None:
    secret = 'p/ss+w"rd='
    one = Credentials(method=Method.KEY, source="x", username="alice", secret=secret, refresh_token="refresh-5e1f")
    basic = base64.b64encode(f"alice:{secret}".encode()).decode()
    forms = [secret, basic, quote(secret, safe=""), quote(basic, safe=""), json.dumps(secret)[1:-1], "refresh-5e1f"]
    text = one.redact(" | ".join(f"before {form} after" for form in forms))
    assert not any(form in text for form in forms)
    assert text == " | ".join(["before *** after"] * len(forms))


def test_text_without_a_secret_stays_as_it_is() -> None:
    one = Credentials(method=Method.LOGIN, source="x", username="alice", secret="", refresh_token="refresh-5e1f")
    assert one.redact("nothing to hide") == "nothing to hide"


@pytest.mark.slow
def test_looking_for_credentials_does_not_load_kaggles_libraries() -> None:
    code = (
        "import sys, orchestrator.kaggle.gateway, orchestrator.kaggle.credentials, orchestrator.kaggle.client;"
        "print([name for name in ('kaggle', 'kagglesdk') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
