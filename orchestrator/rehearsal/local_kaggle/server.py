"""HTTP server of the local Kaggle, and the context manager that runs it on a loopback port."""

import asyncio
import base64
import json
import re
import secrets
import socket
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from orchestrator.base.clock import Clock
from orchestrator.base.local_server import LOOPBACK, server_of
from orchestrator.rehearsal.local_kaggle.dataset_calls import BLOB_CALLS, DATASET_CALLS
from orchestrator.rehearsal.local_kaggle.faults import FaultPlan
from orchestrator.rehearsal.local_kaggle.files import FileRoutes
from orchestrator.rehearsal.local_kaggle.http_faults import FaultMiddleware
from orchestrator.rehearsal.local_kaggle.json_codec import Ask, Redirect, error_body, log_entry, log_text
from orchestrator.rehearsal.local_kaggle.kernel_calls import KERNEL_CALLS, Call
from orchestrator.rehearsal.local_kaggle.kernel_records import Status
from orchestrator.rehearsal.local_kaggle.links import Links
from orchestrator.rehearsal.local_kaggle.model_calls import MODEL_CALLS
from orchestrator.rehearsal.local_kaggle.rules import KaggleRefusal, Rules
from orchestrator.rehearsal.local_kaggle.sandbox import Sandbox, SessionLine
from orchestrator.rehearsal.local_kaggle.world import World

if TYPE_CHECKING:
    import uvicorn

TICK_S = 0.2
LOG_TICK_S = 0.1

CALLS: dict[str, dict[str, Call]] = {
    "kernels.KernelsApiService": KERNEL_CALLS,
    "datasets.DatasetApiService": DATASET_CALLS,
    "blobs.BlobApiService": BLOB_CALLS,
    "models.ModelApiService": MODEL_CALLS,
    "api.v1.DiagnosticsService": {"Hello": lambda world, links, ask: {"userName": world.owner}},  # kagglehub's whoami
}


class LocalAccount:
    """The account that may call: one owner, with a token (Bearer) and a key (Basic, with the user name)."""

    def __init__(self, owner: str, token: str, key: str) -> None:
        self.owner = owner
        self.token = token
        self.key = key

    def accepts(self, authorization: str) -> bool:
        """Return True if an Authorization header is this account's."""
        basic = base64.b64encode(f"{self.owner}:{self.key}".encode()).decode()
        known = (f"Bearer {self.token}", f"Basic {basic}")
        return any(secrets.compare_digest(authorization.encode(), good.encode()) for good in known)


class WorldRoutes:
    """HTTP routes of one world."""

    def __init__(self, world: World, links: Links, account: LocalAccount) -> None:
        self._world = world
        self._links = links
        self._account = account
        self.closing = threading.Event()

    def app(self) -> ASGIApp:
        """Return the whole ASGI application, including call faults."""
        files = FileRoutes(self._world, self._links)
        routes = [
            Route("/api/v1/security.OAuthService/IntrospectToken", self.introspect, methods=["POST"]),
            Route("/api/v1/kernels/logs/stream/{owner}/{slug}", self.log_stream, methods=["GET"]),
            Route("/api/v1/{service}/{method}", self.call, methods=["POST"]),
            Route("/files/{area}/{token}/{name:path}", files.download, methods=["GET"]),
            Route("/uploads/{key}", files.upload, methods=["PUT"]),
        ]
        handlers: dict[Any, Callable[[Request, Any], Response]] = {KaggleRefusal: _refused, 404: _not_found}
        starlette = Starlette(routes=routes, exception_handlers=handlers)
        return AbsoluteForm(FaultMiddleware(starlette, self._world.fault_injector, self.closing))

    async def call(self, request: Request) -> Response:
        """Execute one RPC."""
        self._check(request)
        service, method = request.path_params["service"], request.path_params["method"]
        known = CALLS.get(service, {}).get(method)
        if known is None:
            raise KaggleRefusal(501, f"The local Kaggle does not answer {service}/{method}")
        answer = await run_in_threadpool(known, self._world, self._links, await _read_request(request))
        return RedirectResponse(answer.url, 302) if isinstance(answer, Redirect) else JSONResponse(answer)

    async def introspect(self, request: Request) -> Response:
        """Return the owner of a token; an unknown token is inactive."""
        token = (await _read_request(request)).text("token")
        if not secrets.compare_digest(token.encode(), self._account.token.encode()):
            return JSONResponse({})
        return JSONResponse(
            {"active": True, "username": self._account.owner, "userId": 1, "scope": "resources.admin:*"}
        )

    async def log_stream(self, request: Request) -> Response:
        """Send the log from its beginning: an event stream while the session runs, a JSON array once it has ended."""
        self._check(request)
        owner, slug = request.path_params["owner"], request.path_params["slug"]
        poll = self._log_poller(owner, slug, request.query_params.get("versionLabel", ""))
        status, lines = await run_in_threadpool(poll, 0)
        waited_s = 0.0
        while status is Status.QUEUED and waited_s < self._world.rules.log_wait_s and not self.closing.is_set():
            await asyncio.sleep(LOG_TICK_S)
            waited_s += LOG_TICK_S
            status, lines = await run_in_threadpool(poll, 0)
        if status in (Status.QUEUED, Status.NEW_SCRIPT):
            raise KaggleRefusal(404, "There is no log yet")
        if status is not Status.RUNNING:
            return Response(log_text(lines) or "[]", media_type="application/json")
        return StreamingResponse(self._events(poll), media_type="text/event-stream")

    async def _events(self, poll: Callable[[int], tuple[Status, list[SessionLine]]]) -> AsyncIterator[str]:
        sent = 0
        while not self.closing.is_set():
            status, lines = await run_in_threadpool(poll, sent)
            for line in lines:
                yield f"data: {json.dumps(log_entry(line))}\n\n"
            sent += len(lines)
            if status is not Status.RUNNING:
                yield "data: END_OF_LOG\n\n"
                return
            await asyncio.sleep(LOG_TICK_S)

    def _log_poller(self, owner: str, slug: str, label: str) -> Callable[[int], tuple[Status, list[SessionLine]]]:
        with self._world.at_now():
            session = self._world.kernels.session(owner, slug, label)

        def poll(after: int) -> tuple[Status, list[SessionLine]]:
            if session is None:
                return Status.NEW_SCRIPT, []
            with self._world.at_now():
                return session.status, session.lines[after:]

        return poll

    def _check(self, request: Request) -> None:
        if not self._account.accepts(request.headers.get("authorization", "")):
            raise KaggleRefusal(401, "Unauthenticated")


class AbsoluteForm:
    """Accepts `POST http://localhost/api/v1/…`, the form that clients send to an HTTP proxy."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not scope["path"].startswith("/"):
            scope = {**scope, "path": re.sub("^[a-z]+://[^/]*", "", scope["path"])}
        await self._app(scope, receive, send)


class LocalKaggle:
    """A Kaggle on this machine, which runs inside the `with` block; its sessions end with it."""

    def __init__(
        self,
        root: Path,
        clock: Clock,
        rules: Rules,
        faults: FaultPlan,
        sandbox: Sandbox,
        *,
        owner: str = "rehearsal",
        port: int = 0,
    ) -> None:
        self.owner = owner
        self.token = f"KGAT_{secrets.token_hex(16)}"
        self.key = secrets.token_hex(16)
        self.world = World(clock, sandbox, rules, faults, owner=owner, directory=root.resolve())
        self._sandbox = sandbox
        self._port = port
        self._links = Links(rules.url_ttl_s)
        self._routes = WorldRoutes(self.world, self._links, LocalAccount(owner, self.token, self.key))
        self._threads: list[threading.Thread] = []
        self._server: uvicorn.Server | None = None

    @property
    def url(self) -> str:
        """Base URL: scheme, host and port, without a trailing slash."""
        return f"http://{LOOPBACK}:{self._port}"

    def environment(self) -> dict[str, str]:
        """Return the variables that point relay, and Kaggle's own `kaggle` program, at this server only.

        The program can only connect to `http://localhost`, so it reaches any port other than 80 through HTTP_PROXY.
        """
        proxy = {} if self._port == 80 else {"HTTP_PROXY": self.url, "http_proxy": self.url}
        return {
            "KAGGLE_API_ENVIRONMENT": "LOCALHOST",
            "KAGGLE_USERNAME": self.owner,
            "KAGGLE_KEY": self.key,
            "KAGGLE_API_TOKEN": self.token,  # without it, a token in the user's own files would win over the key
            "RELAY_KAGGLE_URL": self.url,
            **proxy,
            "NO_PROXY": "",
            "no_proxy": "",
        }

    def __enter__(self) -> Self:
        listener = socket.create_server((LOOPBACK, self._port))
        self._port = listener.getsockname()[1]
        self._links.base = self.url
        self._server = server_of(self._routes.app())
        self._threads = [
            threading.Thread(target=self._server.run, args=([listener],), name="local-kaggle", daemon=True),
            threading.Thread(target=self._tick, name="local-kaggle-ticks", daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._routes.closing.set()
        self._server.should_exit = True
        for thread in self._threads:
            thread.join()
        self._sandbox.close()

    def _tick(self) -> None:
        while not self._routes.closing.wait(TICK_S):
            self.world.advance()


async def _read_request(request: Request) -> Ask:
    try:
        value = json.loads(await request.body() or b"{}")
    except ValueError as error:
        raise KaggleRefusal(400, "The request is not JSON") from error
    if not isinstance(value, dict):
        raise KaggleRefusal(400, "The request is not a JSON object")
    return Ask(value)


def _refused(request: Request, error: KaggleRefusal) -> Response:
    return JSONResponse(error_body(error.code, error.message), error.code)


def _not_found(request: Request, error: Exception) -> Response:
    return JSONResponse(error_body(404), 404)
