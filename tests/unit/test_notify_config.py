"""Whom to tell: written in one of a few plain ways, and what is wrong is named without repeating an address."""

from pathlib import Path

import pytest

from orchestrator.app.notify.config import EVENTS, USUAL, read
from orchestrator.app.notify.services import mask_address, redact_reason, secret_parts, services
from orchestrator.base.errors import BadInput

ONE, TWO = "tgram://123456789:abcdefg_hijklmnop/12315544/", "ntfy://my-5ecret-topic"


def written(home: Path, text: str) -> Path:
    (home / "notify.yaml").write_text(text, encoding="utf-8")
    (home / "notify.yaml").chmod(0o600)
    return home


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [f"urls:\n  - {ONE}\n  - {TWO}\n", f"version: 1\nurls: ['{ONE}', '{TWO}']", f"- {ONE}\n- {TWO}\n", f"{ONE}\n{TWO}\n"],
    ids=["urls", "apprise's own", "a list", "lines"],
)  # fmt: skip
def test_addresses_are_written_in_any_plain_way(tmp_path: Path, text: str) -> None:
    found = read(written(tmp_path, text), {})
    assert found is not None
    assert found.entries == (ONE, TWO)
    assert found.events == frozenset(USUAL)
    assert [service.name for service in services(found)] == ["Telegram", "ntfy"]


def test_the_variable_takes_the_place_of_the_files_addresses_and_leaves_its_events(tmp_path: Path) -> None:
    found = read(written(tmp_path, f"urls: ['{ONE}']\nevents: all"), {"RELAY_NOTIFY": f"{TWO},{ONE}"})
    assert found is not None
    assert (found.entries, found.events, found.source) == ((TWO, ONE), frozenset(EVENTS), "RELAY_NOTIFY")


def test_without_an_address_nobody_is_told(tmp_path: Path) -> None:
    assert read(tmp_path, {}) is None
    assert read(written(tmp_path, ""), {"RELAY_NOTIFY": " "}) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"url:\n- {ONE}", r"'url' is not a key of it \(did you mean 'urls'\?\)"),
        (f"urls: [{TWO}]\nevents: [praked]", r"events has no 'praked' \(did you mean 'parked'\?\): choose of parked,"),
        (f"urls: [{TWO}]\nevents: 7", "events is not a list"),
        ("urls: 7", "urls is not a list of addresses"),
        (f"urls: [{ONE}", "is not YAML"),
        (f"? {TWO}\n: x", "one of the keys is not a key of it"),
        ("7", "holds no addresses"),
    ],
)
def test_what_is_wrong_is_named_and_no_address_is_repeated(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(BadInput, match=says) as refused:
        read(written(tmp_path, text), {})
    assert "notify.yaml" in str(refused.value)
    assert "5ecret" not in str(refused.value)
    assert "abcdefg" not in str(refused.value)


@pytest.mark.slow
@pytest.mark.parametrize("url", ["tgram://5ecret", "nonsense://5ecret", "5ecret"])
def test_an_address_that_apprise_does_not_know_is_named_by_its_place_and_kind(tmp_path: Path, url: str) -> None:
    found = read(written(tmp_path, f"urls:\n- {TWO}\n- {url}"), {})
    assert found is not None
    with pytest.raises(BadInput, match=r"notify\.yaml: address 2 .*is not one that apprise can use") as refused:
        services(found)
    assert "5ecret" not in str(refused.value)


@pytest.mark.parametrize(
    ("private", "shown"),
    [
        ("json://user:****@127.0.0.1:9/hook/5ecret?+X=5ecret", "json://127.0.0.1:9/…"),
        ("ntfys://my-5ecret-topic?priority=default", "ntfys://m…/…"),
        ("mailtos://me:****@gmail.com/?smtp=x", "mailtos://gmail.com/…"),
        ("dbus://_/", "dbus://_…/…"),
    ],
)
def test_an_address_is_shown_as_its_kind_and_its_server(private: str, shown: str) -> None:
    assert mask_address(private) == shown


@pytest.mark.slow
def test_two_services_that_look_alike_are_told_apart(tmp_path: Path) -> None:
    found = read(written(tmp_path, "- json://localhost/one-5ecret\n- json://localhost/two-5ecret"), {})
    assert found is not None
    assert [service.shown for service in services(found)] == ["json://localhost/…", "json://localhost/… (2)"]


def test_a_complaint_loses_every_part_of_the_address() -> None:
    secrets = secret_parts("json://user:pass%21word@host.example/hook?+X-Token=t0ken", "json://host.example/…")
    said = redact_reason("POST http://user@host.example/hook with t0ken and pass!word failed", secrets)
    assert said.startswith("POST http://***@host.example/***"), said
    assert "pass" not in said
    assert "t0ken" not in said
