"""The local Kaggle really runs what is pushed: with its inputs, within its limit, and with nothing of the server's."""

import json
import textwrap
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from orchestrator.base.clock import SystemClock, VirtualClock
from orchestrator.rehearsal.local_kaggle.faults import FaultPlan, SessionAction, SessionFault
from orchestrator.rehearsal.local_kaggle.rules import TIME_LIMIT_MESSAGE, PerKind
from stages.contract import Progress
from tests.contract.local import AT_ONCE, DATASETS, KERNELS, PATIENCE_S, Client, running, until
from tests.unit.test_sandbox import gone

HOUR = 3600.0


def log(client: Client, slug: str = "some-kernel") -> list[str]:
    """The stored log's lines."""
    return [entry["data"].rstrip("\n") for entry in json.loads(client.output(slug).get("log", "[]"))]


def ended(client: Client, slug: str = "some-kernel") -> dict[str, Any]:
    """The status of a session, once it has one that is final."""
    until(lambda: client.status(slug).get("status") not in (None, "RUNNING"))
    return client.status(slug)


def first_line(client: Client, slug: str = "some-kernel") -> str:
    """What a session that runs said first."""
    with client.stream(slug) as response:
        assert response.status_code == 200
        line = next(line for line in response.iter_lines() if line)
    text: str = json.loads(line.removeprefix(b"data: "))["data"]
    return text.rstrip("\n")


def files(client: Client, slug: str = "some-kernel") -> dict[str, bytes]:
    """Every output file."""
    listed = client.output(slug, pageSize=200).get("files", [])
    return {file["fileName"]: requests.get(file["url"], timeout=PATIENCE_S).content for file in listed}


@pytest.mark.slow
def test_a_pushed_script_runs_with_its_inputs_and_leaves_its_outputs(tmp_path: Path) -> None:
    with running(tmp_path, SystemClock()) as client:
        client.create("some-data", **{"state.bin": b"41"})
        client.push(
            text=textwrap.dedent(
                """
                import pathlib
                (state,) = pathlib.Path("../input").rglob("state.bin")
                pathlib.Path("relay").mkdir()
                pathlib.Path("relay/state.bin").write_text(str(int(state.read_text()) + 1))
                print("done")
                """
            ),
            datasetDataSources=["rehearsal/some-data"],
        )
        assert ended(client) == {"status": "COMPLETE"}
        assert files(client) == {"relay/state.bin": b"42"}
        assert log(client) == ["done"]
        client.push("next-kernel", "import pathlib; print(*pathlib.Path('../input').rglob('state.bin'))")
        assert ended(client, "next-kernel") == {"status": "COMPLETE"}
        assert log(client, "next-kernel") == [""], "it was not given any input"
        client.push(
            "last-kernel",
            "import pathlib; print([p.read_text() for p in pathlib.Path('../input').rglob('state.bin')])",
            kernelDataSources=["rehearsal/some-kernel"],
        )
        ended(client, "last-kernel")
        assert log(client, "last-kernel") == ["['42']"]


@pytest.mark.slow
def test_a_script_that_fails_is_an_error_with_its_traceback_in_the_log(tmp_path: Path) -> None:
    with running(tmp_path, SystemClock()) as client:
        client.push(text="open('partial.txt', 'w').write('kept')\nraise SystemExit('broken on purpose')")
        assert ended(client) == {"status": "ERROR"}
        assert log(client) == ["broken on purpose"]
        assert files(client) == {"partial.txt": b"kept"}


@pytest.mark.slow
def test_a_script_sees_no_credential_and_nothing_else_of_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAGGLE_API_TOKEN", "the-servers-secret")
    with running(tmp_path, SystemClock()) as client:
        client.push(text="import os, pathlib; print(dict(os.environ), pathlib.Path.home())")
        ended(client)
        (line,) = log(client)
        for secret in ("the-servers-secret", client.kaggle.token, client.kaggle.key, str(Path.home()) + "'"):
            assert secret not in line
        assert "RELAY_STAND_IN" in line


ENDLESS = """
import itertools, os, pathlib, time
pathlib.Path("early.txt").write_text("kept")
print(os.getpid(), flush=True)
time.sleep(10_000)
pathlib.Path("late.txt").write_text("never")
"""


@pytest.mark.slow
@pytest.mark.parametrize(("timeout_s", "limit_s"), [(None, 9 * HOUR), (600, 600.0)])
def test_a_session_at_its_limit_is_killed_and_its_files_and_log_are_kept(
    tmp_path: Path, timeout_s: int | None, limit_s: float
) -> None:
    clock = VirtualClock(datetime(2030, 1, 7, tzinfo=UTC))
    with running(tmp_path, clock) as client:
        client.push(text=ENDLESS, machineShape="TpuV5E8", **({"sessionTimeoutSeconds": timeout_s} if timeout_s else {}))
        pid = int(first_line(client))
        clock.sleep(limit_s - 1)
        assert client.status() == {"status": "RUNNING"}
        assert not gone(pid)
        clock.sleep(1)
        assert client.status() == {"status": "CANCEL_ACKNOWLEDGED", "failureMessage": TIME_LIMIT_MESSAGE}
        assert gone(pid)
        assert files(client) == {"early.txt": b"kept"}
        assert log(client) == [str(pid)]
        quota = client.json(KERNELS, "GetAcceleratorQuotaStatistics")["tpuQuota"]
        assert (quota["timeUsed"], quota["timeReserved"]) == (f"{limit_s:.0f}s", "0s")


@pytest.mark.slow
def test_a_session_starts_by_itself_when_its_time_in_the_queue_is_over(tmp_path: Path) -> None:
    clock = VirtualClock()
    with running(tmp_path, clock, replace(AT_ONCE, queue_s=PerKind.all(600.0))) as client:
        client.push(text="open('out.txt', 'w')")
        assert client.status() == {}
        clock.sleep(600)
        out = tmp_path / "sessions" / "rehearsal" / "some-kernel" / "v1" / "kaggle" / "working" / "out.txt"
        until(out.exists)  # nobody asked the server anything


@pytest.mark.slow
def test_closing_the_server_ends_its_sessions(tmp_path: Path) -> None:
    with running(tmp_path, SystemClock()) as client:
        client.push(text=ENDLESS)
        pid = int(first_line(client))
        assert not gone(pid)
    assert gone(pid)


@pytest.mark.slow
def test_deleting_a_kernel_ends_its_process(tmp_path: Path) -> None:
    with running(tmp_path, SystemClock()) as client:
        client.push(text=ENDLESS)
        pid = int(first_line(client))
        client.json(KERNELS, "DeleteKernel", userName="rehearsal", kernelSlug="some-kernel")
        assert gone(pid)


STEPS = """
import itertools, sys, time
for line in sys.stdin:
    pass
template = {template!r}
for step in range(1, 1_000_000):
    open("steps.txt", "w").write(str(step))
    print(template.replace('"step":7777', f'"step":{{step}}'), flush=True)
    time.sleep(0.01)
"""


def counting(stage: str) -> str:
    """A script that reports a step every hundredth of a second, for ever."""
    event = Progress(number=0, event="step", at_s=0.0, stage=stage, step=7777, target=9)
    return STEPS.format(template=event.line())


@pytest.mark.slow
def test_a_process_is_killed_without_notice_once_it_has_reached_a_step(tmp_path: Path) -> None:
    fault = SessionFault(session=1, action=SessionAction.KILL, stage="grpo", step=5, within_s=0.05)
    with running(tmp_path, SystemClock(), faults=FaultPlan(sessions=(fault,))) as client:
        client.push(text=counting("grpo"))
        assert ended(client) == {"status": "ERROR"}
        assert "steps.txt" in files(client), "it may be empty: the kill can fall between open and write"
        assert len(log(client)) >= 5


@pytest.mark.slow
def test_a_process_that_stalls_is_killed_only_by_the_limit(tmp_path: Path) -> None:
    clock = VirtualClock()
    fault = SessionFault(session=1, action=SessionAction.STALL, step=3)
    with running(tmp_path, clock, faults=FaultPlan(sessions=(fault,))) as client:
        client.push(text="import os; print(os.getpid(), flush=True)\n" + counting("sft"))
        pid = int(first_line(client))
        until(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
        assert client.status() == {"status": "RUNNING"}
        clock.sleep(12 * HOUR)
        assert client.status()["status"] == "CANCEL_ACKNOWLEDGED"
        assert gone(pid)
        assert files(client)


@pytest.mark.slow
def test_a_big_input_and_a_big_output_arrive_byte_for_byte(tmp_path: Path) -> None:
    data = bytes(range(251)) * 40_000  # ten megabytes
    with running(tmp_path, SystemClock()) as client:
        client.create("some-data", **{"state.bin": data})
        text = "import pathlib, shutil; shutil.copy(next(pathlib.Path('../input').rglob('state.bin')), 'out.bin')"
        client.push(text=text, datasetDataSources=["rehearsal/some-data"])
        assert ended(client) == {"status": "COMPLETE"}
        assert files(client) == {"out.bin": data}
        where = {"ownerSlug": "rehearsal", "datasetSlug": "some-data", "fileName": "state.bin"}
        found = client.ask(DATASETS, "DownloadDataset", **where)
        assert requests.get(found.headers["Location"], timeout=PATIENCE_S).content == data
