"""Every parser of outside text takes any text: it answers, or raises an error of relay's own, and what it answers can be written.

`RELAY_FUZZ=100000 python -m pytest tests/unit/test_fuzz.py` tries so many inputs that were changed at random, shared out among the parsers.
"""

import codecs
import json
import os
import random
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kagglesdk.datasets.types import dataset_api_service as dataset_types
from kagglesdk.kernels.types import kernels_api_service as kernel_types
from kagglesdk.models.types import model_api_service as model_types

from kaggle_kernels import build
from orchestrator.base.errors import RelayError
from orchestrator.base.safe_yaml import OddYaml, UniqueKeys, read_yaml
from orchestrator.base.terminal import CONTROLS, escape_controls
from orchestrator.kaggle import responses
from orchestrator.kaggle.log_extractor import LogSieve, unescaped
from orchestrator.kaggle.logs import LineAssembler, chunk_of_event, lines_of_log
from orchestrator.kaggle.rpc import _check_types
from orchestrator.kaggle.streams import _truncated_lines
from orchestrator.kaggle.transport import UNREADABLE, CallFailed, check_status, reason_of, retry_after_s
from orchestrator.pipeline.loader import parse
from orchestrator.pipeline.references import dataset_problem, model_problem
from orchestrator.platforms.file_names import output_file, safe_name
from orchestrator.platforms.port import KernelPush
from orchestrator.rehearsal.local_kaggle.faults import FaultPlan
from orchestrator.views.history.results import samples
from stages.contract import Manifest, Order, Progress, Report
from stages.documents import ContractError
from stages.safe_text import OddJson, read_json
from stages.session.wheels import NoWheels, WheelList
from tests.unit.counting_runs import order

ANY = st.characters(codec=None, categories=None)
TEXT = st.text(ANY, max_size=60)
WORDS = st.sampled_from(
    ["status", "files", "log", "data", "time", "error", "code", "message", "ref", "nextPageToken", "fileName", "url",
     "kernels", "datasets", "metadata", "blob", "tpuQuota", "timeUsed", "quotaRefreshTime", "failureMessage", "totalBytes",
     "run", "session", "metrics", "cursor", "checkpoint", "seconds", "COMPLETE", "1s", "2030-01-01T00:00:00Z", "name",
     "0001-01-01T00:00:00+14:00", "99999999999999999s", "@relay ", "\ud83d", "\0", "\x1b]0;x\x07", "stages", "key", "answer"]
)  # fmt: skip
NUMBERS = st.integers() | st.floats() | st.sampled_from([2**63, -(2**70), 10**400, 1e308])
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | NUMBERS | WORDS | st.text(ANY, max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(ANY, max_size=4), inner, max_size=6),
    max_leaves=20,
)
DEEP = st.integers(1, 4000).map(lambda depth: '{"a":' * depth + "1" + "}" * depth)


def _json(value: Any) -> str:
    try:
        return json.dumps(value)
    except ValueError:  # an integer that Python does not write
        return "[" + "9" * 5000 + "]"


JSON = VALUES.map(_json) | DEEP | st.tuples(VALUES.map(_json), st.integers(0, 40)).map(lambda t: t[0][: t[1]]) | TEXT
FIELDS = st.sampled_from([*json.loads(order().to_json()), "cursor", "files", "metrics", "at_s", "outcome", "traceback"])


def documents(kind: Any) -> st.SearchStrategy[str]:
    """Documents of a kind in which a few fields are anything."""
    whole = {
        "order": json.loads(order().to_json()),
        "progress": json.loads(Progress(number=0, event="step", at_s=1.0, stage="a", step=1).to_json()),
        "report": {"run": "r", "session": 1, "attempt": 1, "token": "t", "outcome": "yielded",
                   "started": {"stage": "a", "step": 0}, "reached": {"stage": "a", "step": 1}},
        "manifest": {"run": "r", "session": 1, "attempt": 1, "token": "t", "cursor": {"stage": "a", "step": 1},
                     "parent": None, "files": [{"path": "a", "size_bytes": 1, "sha256": ""}]},
    }[kind.kind]  # fmt: skip
    head = {"format": 1, "document": kind.kind, **whole}
    return st.dictionaries(FIELDS, VALUES, max_size=3).map(lambda changed: _json(head | changed)) | JSON


def read(kind: Any) -> Callable[[str], object]:
    return lambda text: (found := kind.from_json(text)) and found.to_json()


def understood(kind: Any, understand: Callable[[Any, Any], Any]) -> Callable[[str], object]:
    """As the door and `Calls` do it."""

    def answered(text: str) -> object:
        raw = read_json(text, left_out=True)
        if not isinstance(raw, dict):
            return None
        try:
            found = kind.from_dict(raw)
            _check_types(found)
            return understand(found, raw)
        except UNREADABLE:  # which the door makes Nonsense of
            return None

    return answered


def pushed(found: Any, _raw: Any) -> object:
    return responses.kernel_pushed(found, KernelPush(slug="a-kernel", source=""), "me")


def sieved(text: str) -> object:
    data = text.encode("utf-8", "surrogatepass")
    sieve, kept, log = LogSieve(), b"", []
    for at in range(0, len(data), 7):
        kept += sieve.feed(data[at : at + 7])
        log.append(sieve.log)
    return [kept.decode(errors="replace"), *(line.text for line in lines_of_log(unescaped(log)))]


def logged(text: str) -> object:
    lines = LineAssembler()
    ended = [line for part in text.split("\n") if (chunk := chunk_of_event(part)) for line in lines.add(chunk)]
    stored = [line.text for line in lines_of_log([text[:9], text[9:]])]
    return [*(line.text for line in (*ended, *lines.end())), *stored]


def refused(text: str) -> object:
    response = Mock(status_code=400 + len(text) % 200, headers={"Retry-After": text, "Date": text})
    return check_status(response, text.encode("utf-8", "surrogatepass"), str)


PARSERS: dict[str, tuple[st.SearchStrategy[str], Callable[[str], object]]] = {
    "reports": (documents(Report), read(Report)),
    "manifests": (documents(Manifest), read(Manifest)),
    "orders": (documents(Order), read(Order)),
    "orders in kernels": (
        documents(Order) | TEXT,
        lambda text: build.order_in(f"\nORDER = {text!r}\n") or build.order_in(text),
    ),
    "progress": (documents(Progress), lambda text: Progress.from_line(f"@relay {text}") and None),
    "lines of logs": (JSON, logged),
    "logs in answers": (
        JSON | VALUES.map(lambda v: _json({"files": [], "log": _json([{"data": _json(v)}]), "x": v})),
        sieved,
    ),
    "live blocks": (TEXT, lambda text: [*_truncated_lines([text.encode("utf-8", "replace")])] and None),
    "errors": (JSON, refused),
    "reasons": (JSON | TEXT, reason_of),
    "headers": (TEXT, lambda text: retry_after_s({"Retry-After": text, "Date": text})),
    "statuses": (JSON, understood(kernel_types.ApiGetKernelSessionStatusResponse, responses.session_seen)),
    "kernels": (JSON, understood(kernel_types.ApiGetKernelResponse, responses.kernel_found)),
    "lists of kernels": (JSON, understood(kernel_types.ApiListKernelsResponse, responses.kernel_slugs)),
    "pushes": (JSON, understood(kernel_types.ApiSaveKernelResponse, pushed)),
    "outputs": (JSON, understood(kernel_types.ApiListKernelSessionOutputResponse, responses.output_page)),
    "quotas": (
        JSON,
        understood(
            kernel_types.ApiGetAcceleratorQuotaStatisticsResponse, lambda found, _: responses.quota_of(found, "tpu")
        ),
    ),
    "datasets": (JSON, understood(dataset_types.ApiDataset, responses.dataset)),
    "files of datasets": (JSON, understood(dataset_types.ApiListDatasetFilesResponse, responses.dataset_page)),
    "models": (JSON, understood(model_types.ApiModelInstance, responses.model_instance)),
    "names of files": (TEXT, lambda text: [output_file(text, "").name and None, safe_name(text)]),
    "transcripts": (
        st.lists(JSON, max_size=3).map("\n".join),
        lambda text: samples({"stages": [{"name": "a"}, {"name": "b"}]}, {"a": f"head\n{text}", "b": f"head\n{text}"}),
    ),
    "lists of wheels": (JSON, lambda text: WheelList.from_json(text) and None),
    "pipelines": (JSON | TEXT, lambda text: parse(text, "p.yaml")),
    "fault plans": (JSON | TEXT, lambda text: FaultPlan.from_yaml(text)),
    "YAML": (JSON | TEXT, lambda text: [read_yaml(text, UniqueKeys) and None]),
    "references": (TEXT, lambda text: [dataset_problem(text), model_problem(text)]),
}
OURS = (RelayError, CallFailed, ContractError, OddJson, OddYaml, NoWheels)
"""Errors of relay's own."""

EXAMPLES = 25
CHANGED = int(os.environ.get("RELAY_FUZZ", "2000")) // len(PARSERS) + 1
"""Inputs a parser that are no strategy's, which takes a hundred times as long to think of one."""


@pytest.mark.slow
@pytest.mark.parametrize("name", PARSERS)
def test_a_parser_answers_or_raises_an_error_of_relays_own(name: str) -> None:
    inputs, parser = PARSERS[name]

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(inputs)
    def tried(text: str) -> None:
        answered(parser, text)

    tried()


def answered(parser: Callable[[str], object], text: str) -> None:
    try:
        found = parser(text)
    except OURS as error:
        assert not CONTROLS.search(escape_controls(str(error)))
        return
    if found is not None:
        told = repr(found)  # which shows what cannot be written as an escape
        assert "\\ud8" not in told.replace("\\\\", "")
        codecs.encode(told, "utf-8")


ODD_PARTS = (
    '"\\ud83d"', "\ud83d", "\0", "\x1b[2J", "NaN", "1e999", "-Infinity", "9" * 5000, str(2**64), "[" * 3000, '{"a":' * 120,
    "null", "{}", "[]", '""', "}", "]", ",", ":", "\n", "- ", "&a ", "*a", "<<: ", "!!binary ", "\\", "0001-01-01T00:00:00+14:00",
    "99999999999999999999s", "data:", "@relay ", "\u202e", "2026-13-45", "true", "1.5", "-1",
)  # fmt: skip


def changed(text: str, rng: random.Random) -> str:
    """The text with one to four pieces taken out, put in, doubled or made odd."""
    for _ in range(rng.randint(1, 4)):
        at, length = rng.randint(0, len(text)), rng.choice((0, 0, 1, 2, 5, 20))
        part = rng.choice(("", rng.choice(ODD_PARTS), text[at : at + length] * 2, chr(rng.randrange(0x110000))))
        text = text[:at] + part + text[at + length :]
    return text


CORPUS = (
    order().to_json(),
    Progress(
        number=0, event="step", at_s=1.0, stage="a", step=1, metrics={"loss": 0.5}, seconds={"compile": 1.0}
    ).to_json(),
    '{"document":"manifest","format":1,"run":"r","session":1,"attempt":1,"token":"t","cursor":{"stage":"a","step":1},'
    '"parent":null,"files":[{"path":"a","size_bytes":1,"sha256":""}]}',
    '{"document":"report","format":1,"run":"r","session":1,"attempt":1,"token":"t","outcome":"yielded","reason":"ä",'
    '"started":{"stage":"a","step":0},"reached":{"stage":"a","step":1},"timings":{"save_s":1.5}}',
    '{"status":"COMPLETE","failureMessage":"it broke","error":{"code":429,"message":"slow down"},"nextPageToken":"x"}',
    '{"files":[{"url":"http://a/b","fileName":"a/b.bin"}],"log":"[{\\"data\\":\\"one\\\\n\\",\\"time\\":1.0}]"}',
    '{"metadata":{"ref":"me/a","currentVersionNumber":3},"blob":{"source":"print(1)"},"kernels":[{"ref":"me/a"}]}',
    '{"tpuQuota":{"timeUsed":"60s","totalTimeAllowed":"72000s"},"quotaRefreshTime":"2030-01-01T00:00:00Z"}',
    '{"ref":"me/a","datasetFiles":[{"name":"a","totalBytes":5}],"slug":"a","versionNumber":1,"invalidDatasetSources":[]}',
    '{"key":"1","question":"1+1?","answer":"2","right":true}',
    '{"stream_name":"stdout","time":1.5,"data":"a line\\n"}\n{"stream_name":"stderr","time":2,"data":"half"}',
    "name: count\naccelerator: cpu\ninputs: {datasets: [a/b]}\nstages:\n  - {name: a, kind: counting, steps: 2}\n",
    "seed: 1\nsessions: [{session: 1, action: kill, after_s: 5}]\ncalls: &a [{call: SaveKernel, action: lost}]\n",
    "Tue, 01 Jan 2030 00:00:00 GMT",
    "alice/my-set",
    "<html><script>x</script>We will be right back</html>",
)


@pytest.mark.slow
@pytest.mark.parametrize("name", PARSERS)
def test_a_parser_takes_what_was_changed_at_random(name: str) -> None:
    _, parser = PARSERS[name]
    rng = random.Random(name)
    for number in range(CHANGED):
        text = changed(rng.choice(CORPUS), rng)
        try:
            answered(parser, text)
        except Exception as error:
            raise AssertionError(f"input {number} of {name}: {text[:500]!r}") from error
