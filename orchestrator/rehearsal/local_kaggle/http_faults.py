"""Call faults at the HTTP level: wrong statuses, nonsense, and responses that are late, cut short or missing."""

import asyncio
import json
import threading
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.base.clock import monotonic_s
from orchestrator.rehearsal.local_kaggle.fault_injection import FaultInjector
from orchestrator.rehearsal.local_kaggle.faults import CallAction, CallFault
from orchestrator.rehearsal.local_kaggle.json_codec import error_body

WAKE_S = 0.1
"""Interval, in seconds, at which a hanging call checks whether the server is closing."""

HTML_PAGE = "<!DOCTYPE html><html><head><title>Kaggle</title></head><body>We will be right back.</body></html>"


def call_name(method: str, path: str) -> str:
    """Return a request's name in fault plans.

    That is the name of the RPC, `OutputFile`, `DatasetFile`, `BlobUpload` or `LogStream`.
    """
    parts = path.strip("/").split("/")
    if parts[0] == "files" and len(parts) > 1:
        return parts[1]
    if parts[0] == "uploads" and method == "PUT":
        return "BlobUpload"
    if parts[:5] == ["api", "v1", "kernels", "logs", "stream"]:
        return "LogStream"
    return parts[-1]


class FaultMiddleware:
    """ASGI middleware that executes a fault plan. It needs uvicorn, whose connections it can close."""

    def __init__(self, app: ASGIApp, injector: FaultInjector, closing: threading.Event) -> None:
        self._app = app
        self._injector = injector
        self._closing = closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        fault = self._injector.call(call_name(scope["method"], scope["path"])) if scope["type"] == "http" else None
        if fault is None:
            await self._app(scope, receive, send)
            return
        match fault.action:
            case CallAction.STATUS | CallAction.EMPTY | CallAction.HTML:
                await _drain(receive)
                await _instead(fault)(scope, receive, send)
            case CallAction.HANG:
                await self._wait(fault.seconds)
                await self._app(scope, receive, send)
            case CallAction.LOST:
                await self._app(scope, receive, _nowhere)
                await _hang_up(receive)
            case CallAction.FLIP:
                await self._flip(fault, scope, receive, send)
            case CallAction.CUT if scope["method"] == "PUT":
                await self._cut_upload(fault, scope, receive, send)
            case CallAction.CUT:
                await self._cut_answer(fault, scope, receive, send)

    async def _wait(self, seconds: float) -> None:
        ends_at_s = monotonic_s() + seconds
        while (left_s := ends_at_s - monotonic_s()) > 0 and not self._closing.is_set():
            await asyncio.sleep(min(left_s, WAKE_S))

    async def _flip(self, fault: CallFault, scope: Scope, receive: Receive, send: Send) -> None:
        left = fault.after_bytes

        async def send_flipped(message: Message) -> None:
            nonlocal left
            if message["type"] == "http.response.body":
                body = message.get("body", b"")
                message = {**message, "body": flipped(body, left)}
                left -= len(body)
            await send(message)

        await self._app(scope, receive, send_flipped)

    async def _cut_upload(self, fault: CallFault, scope: Scope, receive: Receive, send: Send) -> None:
        cut = _Cut(receive, fault.after_bytes)
        await self._app(scope, cut, _nowhere)
        if not fault.status:
            await _hang_up(receive)
            return
        if cut.more:
            await _drain(receive)
        await _instead(fault)(scope, receive, send)

    async def _cut_answer(self, fault: CallFault, scope: Scope, receive: Receive, send: Send) -> None:
        left = fault.after_bytes

        async def send_some(message: Message) -> None:
            nonlocal left
            if message["type"] == "http.response.body":
                whole = message.get("body", b"")
                body, ended = whole[:left], len(whole) > left or not message.get("more_body", False)
                left -= len(body)
                await send({"type": "http.response.body", "body": body, "more_body": True})
                if ended:
                    raise _Ended
                return
            await send(message)

        try:
            await self._app(scope, receive, send_some)
        except* _Ended:
            await _hang_up(receive)


def flipped(data: bytes, at: int) -> bytes:
    """Return the data with one bit of byte number `at` flipped, if there is such a byte."""
    if not 0 <= at < len(data):
        return data
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


class _Ended(Exception):
    """Raised when the permitted part of a response has been sent."""


class _Cut:
    """Receive channel of a request whose body ends early, as if the connection had been closed."""

    def __init__(self, receive: Receive, bytes_max: int) -> None:
        self._receive = receive
        self._left = bytes_max
        self.more = True
        """True while the client has more to send. Receiving after the end of the body would block forever."""

    async def __call__(self) -> Message:
        if self._left <= 0 or not self.more:
            return {"type": "http.disconnect"}
        message = await self._receive()
        if message["type"] == "http.request":
            body = message.get("body", b"")[: self._left]
            self._left -= len(body)
            self.more = message.get("more_body", False)
            return {"type": "http.request", "body": body, "more_body": True}
        return message


def _instead(fault: CallFault) -> Response:
    if fault.action is CallAction.HTML:
        return Response(HTML_PAGE, media_type="text/html")
    if fault.action is CallAction.EMPTY:
        return JSONResponse({})
    headers = {} if fault.retry_after_s is None else {"Retry-After": f"{fault.retry_after_s:g}"}
    body = json.dumps(error_body(fault.status_code))
    return Response(body, fault.status_code, headers=headers, media_type="application/json")


async def _nowhere(message: Message) -> None:
    """Discard a response message."""


async def _drain(receive: Receive) -> None:
    while (message := await receive())["type"] == "http.request" and message.get("more_body", False):
        pass


async def _hang_up(receive: Receive) -> None:
    """Close the connection without sending anything more."""
    transport: Any = getattr(getattr(receive, "__self__", None), "transport", None)
    assert isinstance(transport, asyncio.Transport), "call faults need a uvicorn connection"
    transport.close()
    while (await receive())["type"] != "http.disconnect":
        pass
