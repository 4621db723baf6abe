"""The `kaggle` program as it is released works against the local Kaggle, on a port that it has no setting for."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.base.clock import SystemClock
from orchestrator.rehearsal.local_kaggle.faults import CallAction, CallFault, FaultPlan
from tests.contract.local import running, until
from tests.contract.program import SCRIPT, Program

DATA = bytes(range(256)) * 1_000


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def kaggle(tmp_path: Path, home: Path) -> Iterator[Program]:
    with running(tmp_path / "root", SystemClock()) as client:
        yield Program(client, home)


@pytest.mark.slow
def test_quota_is_shown(kaggle: Program) -> None:
    rows = [line.split() for line in kaggle("quota").splitlines()]
    assert ["GPU", "0.00h", "30.00h", "30.00h"] in [row[:4] for row in rows]
    assert ["TPU", "0.00h", "20.00h", "20.00h"] in [row[:4] for row in rows]


@pytest.mark.slow
def test_a_stale_token_in_the_users_files_is_not_taken(kaggle: Program) -> None:
    (kaggle.home / ".kaggle").mkdir()
    (kaggle.home / ".kaggle" / "access_token").write_text("KGAT_stale")
    assert "20.00h" in kaggle("quota")


@pytest.mark.slow
def test_the_life_of_a_kernel(kaggle: Program) -> None:
    kaggle("datasets", "create", "-p", str(kaggle.dataset(**{"state.bin": DATA, "empty.txt": b""})))
    folder = kaggle.kernel(dataset_sources=["rehearsal/some-data", "rehearsal/nothing"])
    pushed = kaggle("kernels", "push", "-p", str(folder), "-t", "3600")
    assert "Kernel version 1 successfully pushed" in pushed
    assert "https://www.kaggle.com/code/rehearsal/some-kernel" in pushed
    assert "['rehearsal/nothing']" in pushed
    assert kaggle("kernels", "logs", "-f", "rehearsal/some-kernel").splitlines() == ["inputs: empty.txt state.bin"]
    assert 'has status "KernelWorkerStatus.COMPLETE"' in kaggle("kernels", "status", "rehearsal/some-kernel")
    assert json.loads(kaggle("kernels", "logs", "rehearsal/some-kernel"))[0]["data"] == "inputs: empty.txt state.bin\n"

    into = kaggle.home / "output"
    printed = kaggle("kernels", "output", "rehearsal/some-kernel", "-p", str(into))
    assert f"Output file downloaded to {into / 'relay' / 'state.bin'}" in printed
    assert (into / "relay" / "state.bin").read_bytes() == DATA[::-1]
    assert (into / "report.json").read_text() == "{}"
    assert "inputs: empty.txt state.bin" in (into / "some-kernel.log").read_text()

    listed = [line.split()[:2] for line in kaggle("kernels", "files", "rehearsal/some-kernel").splitlines()]
    assert ["relay/state.bin", str(len(DATA))] in listed
    assert ["report.json", "2"] in listed
    assert "rehearsal/some-kernel" in kaggle("kernels", "list", "-m")

    pulled = kaggle.home / "pulled"
    kaggle("kernels", "pull", "rehearsal/some-kernel", "-m", "-p", str(pulled))
    about = json.loads((pulled / "kernel-metadata.json").read_text())
    assert (pulled / about["code_file"]).read_text() == SCRIPT
    assert (about["id"], about["dataset_sources"]) == ("rehearsal/some-kernel", ["rehearsal/some-data"])

    assert "deleted successfully" in kaggle("kernels", "delete", "-y", "rehearsal/some-kernel")
    assert "Permission 'kernels.get' was denied" in kaggle("kernels", "status", "rehearsal/some-kernel", exits=1)


@pytest.mark.slow
def test_the_life_of_a_dataset(kaggle: Program) -> None:
    folder = kaggle.dataset(**{"state.bin": DATA, "empty.txt": b""})
    created = kaggle("datasets", "create", "-p", str(folder))
    assert "Upload successful: state.bin (250KB)" in created
    assert "Your private Dataset is being created" in created
    assert kaggle("datasets", "status", "rehearsal/some-data") == "ready"
    assert "is already in use by a dataset" in kaggle("datasets", "create", "-p", str(folder))
    listed = [line.split()[:2] for line in kaggle("datasets", "files", "rehearsal/some-data").splitlines()]
    assert ["state.bin", str(len(DATA))] in listed
    assert ["empty.txt", "0"] in listed
    assert "rehearsal/some-data" in kaggle("datasets", "list", "-m")

    (folder / "state.bin").write_bytes(DATA[::-1])
    (folder / "tree" / "inner").mkdir(parents=True)
    (folder / "tree" / "inner" / "leaf.txt").write_text("leaf")
    versioned = kaggle("datasets", "version", "-p", str(folder), "-m", "second", "--dir-mode", "zip")
    assert "Dataset version is being created" in versioned
    status = json.loads(kaggle("datasets", "status", "rehearsal/some-data", "--format", "json"))
    assert status == {"status": "ready", "current_version_number": 2}

    into = kaggle.home / "downloaded"
    kaggle("datasets", "download", "rehearsal/some-data", "-f", "state.bin", "-p", str(into))
    kaggle("datasets", "download", "rehearsal/some-data/1", "-p", str(into / "first"))
    kaggle("datasets", "download", "rehearsal/some-data", "-p", str(into), "--unzip")
    assert (into / "state.bin").read_bytes() == DATA[::-1]
    assert (into / "inner" / "leaf.txt").read_text() == "leaf", "an archive's own name is lost"
    with zipfile.ZipFile(into / "first" / "some-data.zip") as archive:
        assert archive.read("state.bin") == DATA

    kaggle("datasets", "metadata", "rehearsal/some-data", "-p", str(into))
    about = json.loads((into / "dataset-metadata.json").read_text())
    about = json.loads(about) if isinstance(about, str) else about
    assert about["info"]["title"] == "Some data"
    (into / "dataset-metadata.json").write_text(json.dumps({"info": {**about["info"], "title": "Another title"}}))
    assert "successfully updated" in kaggle("datasets", "metadata", "rehearsal/some-data", "-p", str(into), "--update")
    assert "Another title" in kaggle("datasets", "list", "-m")

    assert "deleted successfully" in kaggle("datasets", "delete", "-y", "rehearsal/some-data")
    assert "404" in kaggle("datasets", "status", "rehearsal/some-data", exits=1)


@pytest.mark.slow
def test_a_push_over_the_limit_prints_kaggles_words_and_the_source_is_taken_all_the_same(kaggle: Program) -> None:
    first = kaggle.kernel("first-kernel", "import time; time.sleep(10_000)", machine_shape="TpuV5E8")
    second = kaggle.kernel("second-kernel", "print('second')", enable_tpu=True)
    assert "successfully pushed" in kaggle("kernels", "push", "-p", str(first))
    refused = kaggle("kernels", "push", "-p", str(second))
    assert "Kernel push error: Maximum batch TPU session count of 1 reached." in refused
    kaggle("kernels", "pull", "rehearsal/second-kernel", "-p", str(kaggle.home / "pulled"))
    assert (kaggle.home / "pulled" / "second-kernel.py").read_text() == "print('second')"


@pytest.mark.slow
def test_an_upload_that_is_cut_off_is_resumed_by_the_program_itself(tmp_path: Path, home: Path) -> None:
    faults = FaultPlan(
        calls=(
            CallFault(call="BlobUpload", action=CallAction.CUT, after_bytes=100_000, status=503),
            CallFault(call="BlobUpload", action=CallAction.CUT, after_bytes=50_000, nth=3),
        )
    )
    with running(tmp_path / "root", SystemClock(), faults=faults) as client:
        kaggle = Program(client, home)
        created = kaggle("datasets", "create", "-p", str(kaggle.dataset(**{"state.bin": DATA})))
        assert "Will resume upload at 100000." in created
        kaggle("datasets", "download", "rehearsal/some-data", "-f", "state.bin", "-p", str(home / "back"))
        assert (home / "back" / "state.bin").read_bytes() == DATA


@pytest.mark.slow
def test_more_outputs_than_one_page_holds_are_all_downloaded(kaggle: Program) -> None:
    text = "import pathlib\nfor n in range(250): pathlib.Path(f'part-{n:03d}.bin').write_text(str(n))"
    kaggle("kernels", "push", "-p", str(kaggle.kernel(text=text)))
    until(lambda: kaggle.client.status() == {"status": "COMPLETE"})
    into = kaggle.home / "output"
    kaggle("kernels", "output", "rehearsal/some-kernel", "-p", str(into), "--page-size", "200", "-q")
    parts = sorted(into.glob("part-*.bin"))
    assert [part.read_text() for part in parts] == [str(number) for number in range(250)]


@pytest.mark.slow
def test_a_download_that_is_cut_off_is_resumed_by_the_program_itself(tmp_path: Path, home: Path) -> None:
    faults = FaultPlan(calls=(CallFault(call="DatasetFile", action=CallAction.CUT, after_bytes=100_000),))
    with running(tmp_path / "root", SystemClock(), faults=faults) as client:
        kaggle = Program(client, home)
        client.create("some-data", **{"state.bin": DATA})
        into = home / "back"
        printed = kaggle("datasets", "download", "rehearsal/some-data", "-f", "state.bin", "-p", str(into))
        assert "Resuming from" in printed
        assert (into / "state.bin").read_bytes() == DATA
