"""`relay publish --hub`: Hugging Face's own library puts exactly the export into a repository, private unless asked."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.base.clock import SystemClock
from stages.formats.export_manifest import ExportManifest
from state.store import Store
from tests.contract.hub_server import TOKEN, Hub, Repository, hub
from tests.contract.publishing import RUN, STARTED, made_up
from tests.contract.test_commands import relay

pytestmark = pytest.mark.slow  # each command is a process, since the library reads its address when it is imported

NAME = "alice/gsm"


@dataclass
class HubDesk:
    hub: Hub
    root: Path
    export: Path

    def publish(self, *arguments: str, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
        environ = {"HF_ENDPOINT": self.hub.url, "HF_TOKEN": token, "HF_HOME": str(self.root / "hf")}
        environ |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "NO_PROXY": "127.0.0.1"}
        folder = ("--from-export", str(self.export))
        return relay("publish", RUN, "--hub", NAME, *folder, *arguments, home=self.root / "home", environ=environ)

    @property
    def repository(self) -> Repository:
        return self.hub.repositories[NAME]


@pytest.fixture
def here(tmp_path: Path) -> Iterator[HubDesk]:
    Store.at(tmp_path / "home").begin_run(STARTED, SystemClock().now())
    with hub() as found:
        yield HubDesk(found, tmp_path, made_up(tmp_path / "export", "safetensors"))


def test_the_repository_is_private_and_has_exactly_what_was_exported(here: HubDesk) -> None:
    done = here.publish()
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"repository  {NAME}", f"page        {here.hub.url}/{NAME}"]
    manifest = ExportManifest.from_json((here.export / "export.json").read_bytes())
    wanted = {entry.path: (here.export / entry.path).read_bytes() for entry in manifest.files}
    wanted["export.json"] = (here.export / "export.json").read_bytes()
    found = dict(here.repository.files)
    assert b"Gemma Terms of Use" in found.pop("NOTICE")
    assert found.pop(".gitattributes") == b"*"
    assert (found, here.repository.private) == (wanted, True)
    told = relay("status", RUN, "--json", home=here.root / "home")
    (model,) = json.loads(told.stdout)["runs"][0]["models"]
    assert model["model"] == f"{NAME}@{here.repository.commits[-1]}"
    made_up(here.export, "safetensors", weights_sha256="f" * 64)
    here.repository.files["model-00002-of-00002.safetensors"] = b"of an earlier export"
    assert here.publish().returncode == 0
    assert here.repository.files.keys() == {*wanted, "NOTICE", ".gitattributes"}


def test_it_becomes_public_only_when_asked_and_answered(here: HubDesk) -> None:
    refused = here.publish("--public")
    assert (refused.returncode, here.hub.repositories) == (2, {})
    assert here.publish("--public", "--yes").returncode == 0
    assert not here.repository.private
    refused = here.publish()
    assert refused.returncode == 2
    assert f"{NAME} is public, and so would be the model: add --public" in refused.stderr


def test_without_a_token_that_is_accepted_nothing_is_made(here: HubDesk) -> None:
    for token, said in (("", "--hub needs a token of Hugging Face"), ("hf_other", "Hugging Face refuses the token")):
        done = here.publish(token=token)
        assert (done.returncode, done.stdout, here.hub.repositories) == (2, "", {})
        assert said in done.stderr


def test_a_repository_with_other_bytes_than_the_export_is_reported_and_stays_private(here: HubDesk) -> None:
    here.hub.spoils = True
    done = here.publish("--public", "--yes")
    assert (done.returncode, here.repository.private) == (1, True)
    assert "does not have the files that were exported" in done.stderr
