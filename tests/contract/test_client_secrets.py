"""Whatever goes wrong, no text that leaves the client shows a secret: not an error, not its causes, not a log record."""

import base64
import logging
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from orchestrator.base.errors import RelayError
from orchestrator.kaggle.client import KaggleGateway
from orchestrator.kaggle.credentials import Credentials, Method
from orchestrator.kaggle.transport import TransportLimits
from orchestrator.platforms.port import FileWanted, KernelPush, OutputFile
from tests.contract.scripted import Reply, Script, Seen, answer, scripted

SECRET = "5e1f00d5ecret0f7he7e57"
REFRESH = "r3fr35h5ecret"
BASIC = base64.b64encode(f"alice:{SECRET}".encode()).decode()
RENEWED = "r3n3wed5ecret"

KEY = Credentials(method=Method.KEY, source="kaggle.json", username="alice", secret=SECRET)
TOKEN = Credentials(method=Method.TOKEN, source="KAGGLE_API_TOKEN", secret=SECRET)
LOGIN = Credentials(
    method=Method.LOGIN, source="credentials.json", username="alice", secret=SECRET, refresh_token=REFRESH
)

LIMITS = TransportLimits(connect_s=1.0, read_s=0.04, call_s=0.5, quiet_s=0.04, live_s=0.5, follow_s=0.04)

SLUG = "gsm-3f9a-s0001"

CALLS: dict[str, Callable[[KaggleGateway, Path], object]] = {
    "owner": lambda gateway, _tmp: gateway.owner(),
    "quota": lambda gateway, _tmp: gateway.quota("tpu"),
    "find_kernel": lambda gateway, _tmp: gateway.find_kernel(SLUG),
    "push": lambda gateway, _tmp: gateway.push(KernelPush(slug=SLUG, source="")),
    "session": lambda gateway, _tmp: gateway.session(SLUG, 1),
    "log": lambda gateway, _tmp: tuple(gateway.log(SLUG, 1)),
    "follow_log": lambda gateway, _tmp: list(gateway.follow_log(SLUG, 1)),
    "output": lambda gateway, _tmp: gateway.output(SLUG, 1),
    "find_dataset": lambda gateway, _tmp: gateway.find_dataset("gsm-3f9a-c0001"),
    "create_dataset": lambda gateway, tmp: gateway.create_dataset("gsm-3f9a-c0001", [_file(tmp)]),
    "download_dataset_file": lambda gateway, tmp: gateway.download_dataset_file("ck", "a", tmp / "a", FileWanted()),
    "delete_dataset": lambda gateway, _tmp: gateway.delete_dataset("gsm-3f9a-c0001"),
}


def _file(directory: Path) -> Path:
    path = directory / "state.bin"
    path.write_bytes(b"x")
    return path


def everything(seen: Seen) -> str:
    """What a careless server repeats: all that it was sent, in words of its own."""
    return f"refused {seen.headers.get('Authorization')} {SECRET} {BASIC} {REFRESH} {seen.body.decode()}"


def _status(status: int) -> Callable[[Seen], Reply]:
    return lambda seen: answer({"error": {"code": status, "message": everything(seen)}}, status)


def _done(seen: Seen) -> Reply:
    fields = ("error", "failureMessage", "errorMessage", "ref", "status", "log")
    return answer(dict.fromkeys(fields, everything(seen)))


ANSWERS: dict[str, Callable[[Seen], Reply]] = {
    **{f"status {status}": _status(status) for status in (400, 401, 403, 404, 409, 429, 500)},
    "an error under 200": _done,
    "an unknown enum": lambda seen: answer({"status": everything(seen)}),
    "an error of another type": lambda seen: answer({"error": {"code": "x", "message": everything(seen)}}),
    "a page": lambda seen: Reply(body=f"<html>{everything(seen)}</html>".encode()),
    "a refused page": lambda seen: Reply(status=403, body=f"<html>{everything(seen)}</html>".encode()),
    "half an answer": lambda seen: Reply(body=everything(seen).encode() * 20, cut_after=900),
    "silence": lambda _seen: Reply(hang=True),
    "a stream": lambda seen: Reply(
        body=f"data: {everything(seen)}\n\n".encode(), headers={"Content-Type": "text/event-stream"}
    ),
    "elsewhere": lambda seen: Reply(status=302, headers={"Location": f"http://127.0.0.1:9/?key={SECRET}"}),
}


def texts_of(error: BaseException) -> str:
    """All that could be printed of an error: itself, what led to it, and the whole report of `--debug`."""
    chain: list[BaseException] = []
    todo: list[BaseException | None] = [error]
    while todo:
        if (one := todo.pop()) is not None and one not in chain:
            chain.append(one)
            todo += [one.__cause__, None if one.__suppress_context__ else one.__context__]
    return "\n".join([*(f"{one} {one!r}" for one in chain), *traceback.format_exception(error)])


def shown_by(
    credentials: Credentials, script: Script, calls: Sequence[str], directory: Path, caplog: pytest.LogCaptureFixture
) -> str:
    """All text that these calls leave behind: answers, errors with their causes, log records, and the gateway itself."""
    caplog.set_level(logging.DEBUG)
    shown = []
    failed = 0
    with scripted(script) as server:
        for name in calls:
            gateway = KaggleGateway([credentials], server.url, sleep=lambda _s: None, limits=LIMITS)
            try:
                shown.append(repr(CALLS[name](gateway, directory)))
            except RelayError as error:
                shown.append(texts_of(error))
                failed += 1
            shown.append(f"{gateway!r} {vars(gateway)!r}")
    assert failed > 0, "nothing went wrong"
    return "\n".join([*shown, *(record.getMessage() for record in caplog.records)])


@pytest.mark.slow
@pytest.mark.parametrize("said", list(ANSWERS))
def test_no_call_shows_the_key_whatever_the_answer(said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    # A stream that never ends is followed for as long as the session may be running.
    calls = [name for name in CALLS if (said, name) not in {("a stream", "follow_log")}]
    text = shown_by(KEY, ANSWERS[said], calls, tmp_path, caplog)
    assert SECRET not in text
    assert BASIC not in text


@pytest.mark.slow
@pytest.mark.parametrize("said", ["status 400", "status 401", "status 500", "an error under 200", "a page"])
@pytest.mark.parametrize("credentials", [TOKEN, LOGIN], ids=lambda one: one.method.name)
def test_no_sign_in_shows_a_token(
    credentials: Credentials, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = shown_by(credentials, ANSWERS[said], ["owner", "push", "session"], tmp_path, caplog)
    assert SECRET not in text
    assert credentials is TOKEN or REFRESH not in text


@pytest.mark.parametrize("status", [401, 403])
def test_no_call_shows_a_token_that_was_renewed_under_way(
    status: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def script(seen: Seen) -> Reply:
        if seen.call == "GenerateAccessToken":
            return answer({"token": RENEWED, "userName": "alice"})
        renewed = RENEWED in seen.headers.get("Authorization", "")
        return ANSWERS[f"status {status}" if renewed else "status 401"](seen)

    text = shown_by(LOGIN, script, ["owner", "push", "output", "find_dataset"], tmp_path, caplog)
    assert [secret for secret in (SECRET, REFRESH, RENEWED) if secret in text] == []


@pytest.mark.slow
@pytest.mark.parametrize("reply", [Reply(), Reply(hang=True), Reply(status=403), Reply(body=b"x" * 9, cut_after=1)])
def test_a_signed_address_shows_no_more_than_its_path(reply: Reply, tmp_path: Path) -> None:
    with scripted(lambda _seen: reply) as server:
        url = f"{server.url}/bucket/state.bin?X-Signature=51gn47ure"
        gateway = KaggleGateway([KEY], server.url, sleep=lambda _s: None, limits=LIMITS)
        if reply != Reply():
            with pytest.raises(RelayError) as caught:
                gateway.download(OutputFile(name="state.bin", url=url), tmp_path / "a", FileWanted())
            assert "51gn47ure" not in texts_of(caught.value)
    with pytest.raises(RelayError) as caught:  # nobody is there any more
        gateway.download(OutputFile(name="state.bin", url=url), tmp_path / "a", FileWanted())
    assert "51gn47ure" not in texts_of(caught.value)
