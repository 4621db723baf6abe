"""A local Kaggle on a loopback port for tests, and the plainest client that can talk to it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from orchestrator.base.clock import Clock, VirtualClock
from orchestrator.rehearsal.local_kaggle.faults import NO_FAULTS, FaultPlan
from orchestrator.rehearsal.local_kaggle.processes import ProcessSandbox
from orchestrator.rehearsal.local_kaggle.rules import PerKind, Rules
from orchestrator.rehearsal.local_kaggle.sandbox import Played, Sandbox, ScriptedSandbox
from orchestrator.rehearsal.local_kaggle.server import LocalKaggle

PATIENCE_S = 60.0
"""Far more than anything here takes; only a broken server waits so long."""

AT_ONCE = Rules(queue_s=PerKind.all(0.0), dataset_processing_s=0.0, log_wait_s=0.0)

IDLES = Played(ends_after_s=100.0)

KERNELS = "kernels.KernelsApiService"
DATASETS = "datasets.DatasetApiService"
BLOBS = "blobs.BlobApiService"


class Client:
    """Posts JSON as Kaggle's client does, and hides nothing."""

    def __init__(self, kaggle: LocalKaggle, clock: Clock) -> None:
        self.kaggle = kaggle
        self.clock = clock
        self.headers = {"Authorization": f"Bearer {kaggle.token}"}

    def ask(self, service: str, method: str, **fields: Any) -> requests.Response:
        """One RPC, redirects not followed."""
        url = f"{self.kaggle.url}/api/v1/{service}/{method}"
        return requests.post(url, json=fields, headers=self.headers, timeout=PATIENCE_S, allow_redirects=False)

    def json(self, service: str, method: str, **fields: Any) -> dict[str, Any]:
        """The answer of an RPC that must succeed."""
        answer = self.ask(service, method, **fields)
        assert answer.status_code == 200, answer.text
        value: dict[str, Any] = answer.json()
        return value

    def push(self, slug: str = "some-kernel", text: str = "print('hello')", **fields: Any) -> dict[str, Any]:
        """Run a script."""
        asked = {"slug": f"{self.kaggle.owner}/{slug}", "newTitle": slug, "text": text, "language": "python"}
        return self.json(KERNELS, "SaveKernel", **{**asked, "kernelType": "script", "isPrivate": True, **fields})

    def status(self, slug: str = "some-kernel", **fields: Any) -> dict[str, Any]:
        """How its session is."""
        return self.json(KERNELS, "GetKernelSessionStatus", userName=self.kaggle.owner, kernelSlug=slug, **fields)

    def output(self, slug: str = "some-kernel", **fields: Any) -> dict[str, Any]:
        """One page of what it left."""
        return self.json(KERNELS, "ListKernelSessionOutput", userName=self.kaggle.owner, kernelSlug=slug, **fields)

    def stream(self, slug: str = "some-kernel", query: str = "") -> requests.Response:
        """Its log stream."""
        url = f"{self.kaggle.url}/api/v1/kernels/logs/stream/{self.kaggle.owner}/{slug}{query}"
        return requests.get(url, headers=self.headers, stream=True, timeout=PATIENCE_S)

    def upload(self, name: str, data: bytes) -> str:
        """Upload a file and give back its token."""
        started = self.json(BLOBS, "StartBlobUpload", type="DATASET", name=name, contentLength=len(data))
        assert requests.put(started["createUrl"], data=data, timeout=PATIENCE_S).status_code == 200
        token: str = started["token"]
        return token

    def create(self, slug: str, **files: bytes) -> dict[str, Any]:
        """Make a dataset of small files."""
        tokens = [{"token": self.upload(name, data)} for name, data in files.items()]
        asked = {"ownerSlug": self.kaggle.owner, "slug": slug, "title": slug, "licenseName": "CC0-1.0"}
        return self.json(DATASETS, "CreateDataset", **asked, isPrivate=True, files=tokens)


def until(true: Callable[[], object]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@contextmanager
def scripted(
    root: Path, played: Played = IDLES, rules: Rules = AT_ONCE, faults: FaultPlan = NO_FAULTS
) -> Iterator[Client]:
    """A local Kaggle on a virtual clock whose sessions are played."""
    with _served(root, VirtualClock(), rules, faults, ScriptedSandbox(lambda *_: played)) as client:
        yield client


@contextmanager
def running(root: Path, clock: Clock, rules: Rules = AT_ONCE, faults: FaultPlan = NO_FAULTS) -> Iterator[Client]:
    """A local Kaggle that really runs what is pushed."""
    with _served(root, clock, rules, faults, ProcessSandbox(root / "sessions", clock)) as client:
        yield client


@contextmanager
def _served(root: Path, clock: Clock, rules: Rules, faults: FaultPlan, sandbox: Sandbox) -> Iterator[Client]:
    with LocalKaggle(root, clock, rules, faults, sandbox) as kaggle:
        yield Client(kaggle, clock)
