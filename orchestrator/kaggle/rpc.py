"""kagglesdk's HTTP client on relay's own HTTP session, and the calls that check credentials."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import requests

from orchestrator.kaggle.log_extractor import LogSieve, unescaped
from orchestrator.kaggle.request_bodies import fill_in
from orchestrator.kaggle.retry import RetryPolicy
from orchestrator.kaggle.transport import (
    UNREADABLE,
    BoundedSession,
    CallFailed,
    HttpStatus,
    InvalidResponse,
    Redact,
    TransportLimits,
    as_read,
    check_status,
    invalid_response,
    transport_errors,
)
from stages.safe_text import OddJson, read_json

Ask = Callable[[Any], Any]
"""Makes one call with kagglesdk's HTTP client."""

Answer = tuple[Any, Mapping[str, Any]]
"""kagglesdk's response object, and the JSON object from which it was read."""

USER_AGENT = "relay-kaggle"

OUTPUT = "kernels.KernelsApiService/ListKernelSessionOutput"
"""RPC that lists a session's output files; its answer also holds the session's whole log."""


class RpcClient:
    """Calls Kaggle, or the server at `url`, without changing global state of kagglesdk in this process."""

    def __init__(self, sdk: Callable[[], Any], url: str | None, limits: TransportLimits, redact: Redact) -> None:
        self._sdk = sdk
        self._url = url
        self.limits = limits
        self.redact = redact

    @property
    def base(self) -> str:
        """URL prefix of all calls."""
        if self._url is None:
            return f"{self._sdk().kaggle_env.get_endpoint(self._sdk().kaggle_env.KaggleEnv.PROD)}/v1"
        return f"{self._url.rstrip('/')}/api/v1"

    def call(self, ask: Ask, authorization: str | None) -> Answer:
        """Make one call, without retries. Raises CallFailed."""
        with _RpcSession(self.limits, authorization, self.base, self.redact) as session:
            http = self._client(session)
            try:
                answer = ask(http)
                _check_types(answer)
                return answer, session.answer
            except UNREADABLE as error:
                raise invalid_response(error, self.redact) from error

    @contextmanager
    def stream(
        self, path: str, read_s: float, authorization: str
    ) -> Iterator[tuple[BoundedSession, requests.Response]]:
        """GET a path below `base` and yield the response before its body is read. Raises CallFailed."""
        with BoundedSession(self.limits, authorization) as session:
            session.read_s = read_s
            headers = {"User-Agent": USER_AGENT, "Accept": "text/event-stream, */*"}
            with transport_errors(self.redact):
                response = session.get(f"{self.base}/{path}", headers=headers, stream=True)
            with response:
                yield session, response

    @contextmanager
    def redirected(
        self, method: str, request: Any, headers: Mapping[str, str], authorization: str
    ) -> Iterator[requests.Response]:
        """Open the file behind a call that answers with the file's URL, or with the file. Raises CallFailed."""
        with BoundedSession(self.limits, authorization) as session, transport_errors(self.redact):
            url, body = f"{self.base}/{method}", type(request).to_dict(request)
            asked = {**headers, "User-Agent": USER_AGENT}
            response = session.post(url, json=body, headers=asked, stream=True, allow_redirects=False)
            self._check(session, response, "the address of a dataset's file")
            if response.next is not None and response.next.url:
                response.close()
                session.authorization = authorization if _same_origin(response.next.url, url) else None
                response = session.get(response.next.url, headers=asked, stream=True)
            with response:
                yield response

    @contextmanager
    def log(self, request: Any, authorization: str) -> Iterator[Iterator[str]]:
        """Yield the text of a session's stored log, in pieces as they arrive. Raises CallFailed."""
        with BoundedSession(self.limits, authorization) as session, transport_errors(self.redact):
            headers = {"User-Agent": USER_AGENT}
            url, body = f"{self.base}/{OUTPUT}", type(request).to_dict(request)
            with session.post(url, json=body, headers=headers, stream=True, allow_redirects=False) as response:
                if response.status_code >= 400:
                    check_status(response, session.read_whole(response), self.redact)
                session.restart(self.limits.log_s)
                yield unescaped(self._log_in(session, response))

    def _log_in(self, session: BoundedSession, response: requests.Response) -> Iterator[bytes]:
        """Yield the bytes between the quotes of the log; the rest of the answer must be valid JSON."""
        sieve, rest = LogSieve(), bytearray()
        for block in session.blocks(response):
            rest += sieve.feed(block)
            if len(rest) > self.limits.body_bytes_max:
                raise InvalidResponse(f"the answer is larger than {self.limits.body_bytes_max} bytes")
            yield sieve.log
        check_status(response, bytes(rest), self.redact)
        _object(response, bytes(rest))

    def _check(self, session: BoundedSession, response: requests.Response, what: str) -> None:
        if response.status_code >= 400:
            with response:
                try:
                    check_status(response, session.read_whole(response), self.redact)
                except CallFailed as error:
                    raise as_read(error, what) from error

    def _client(self, session: requests.Session) -> Any:
        sdk = self._sdk()
        environment = sdk.kaggle_env.KaggleEnv.PROD if self._url is None else sdk.kaggle_env.KaggleEnv.LOCAL
        http = sdk.kaggle_http_client.KaggleHttpClient(env=environment)
        # Setting the session keeps the client from creating one and from looking up a token itself: it would use
        # KAGGLE_API_TOKEN even if other credentials were given.
        http._session = session
        if self._url is not None:
            http._endpoint = self._url.rstrip("/")
        return http


class _RpcSession(BoundedSession):
    """Session for one call: the answer must be a JSON object, and is kept as received."""

    def __init__(self, limits: TransportLimits, authorization: str | None, base: str, redact: Redact) -> None:
        super().__init__(limits, authorization)
        self.headers.update({"User-Agent": USER_AGENT, "Content-Type": "application/json"})
        self.answer: Mapping[str, Any] = {}
        self._base = base
        self._redact = redact

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        # If kagglesdk ever calls another server, no credentials are sent there.
        assert (request.url or "").startswith(f"{self._base}/"), "kagglesdk called another address than the given one"
        with transport_errors(self._redact):
            response = super().send(request, **{**kwargs, "stream": True, "allow_redirects": False})
            with response:
                body = self._kept(response, str(request.url))
        if self.authorization is not None:  # the answer to a call without credentials may be a new token: keep it
            body = self._without_secrets(response, body)
        check_status(response, body, self._redact)
        self.answer = _object(response, body)
        # kagglesdk parses the body again: give it the sanitized JSON only.
        response._content, response.encoding = json.dumps(self.answer).encode(), "utf-8"
        return response

    def _kept(self, response: requests.Response, url: str) -> bytes:
        if not url.endswith(f"/{OUTPUT}"):
            return self.read_whole(response)
        self.restart(self.limits.log_s)  # a large log must not keep a run from its files
        return self.read_whole(response, LogSieve().feed)

    def _without_secrets(self, response: requests.Response, body: bytes) -> bytes:
        # A server may echo the credentials: redact the body before any other code sees it.
        body = self._redact(body.decode(errors="surrogateescape")).encode(errors="surrogateescape")
        response._content = body
        return body


def _object(response: requests.Response, body: bytes) -> Mapping[str, Any]:
    if response.status_code >= 300:
        raise InvalidResponse(f"HTTP {response.status_code} redirects to another address")
    try:
        answer = read_json(body, left_out=True)
    except OddJson as error:
        raise InvalidResponse(
            f"HTTP {response.status_code} with {len(body)} bytes that are not JSON: {error}"
        ) from error
    if not isinstance(answer, dict):
        raise InvalidResponse("the answer is not a JSON object")
    return answer


def _check_types(answer: Any) -> None:
    """Raise TypeError if a field has another type than declared: kagglesdk checks assignments, not what it parses."""
    for field in getattr(type(answer), "_fields", ()):
        value = getattr(answer, field.private_field_name)
        if value is not None and value != field.default_value:
            setattr(answer, field.field_name, value)
            for inner in value if isinstance(value, list) else [value]:
                _check_types(inner)


def _same_origin(one: str, other: str) -> bool:
    return urlsplit(one)[:2] == urlsplit(other)[:2]


class KaggleSignIn:
    """Checks of credentials against Kaggle: implements `account.SignIn`."""

    def __init__(self, rpc: RpcClient, sdk: Callable[[], Any], retries: RetryPolicy) -> None:
        self._rpc = rpc
        self._sdk = sdk
        self._retry = retries

    def name_of(self, token: str) -> str | None:
        request = fill_in(self._sdk().oauth_types.IntrospectTokenRequest(), token=token)
        answer = self._ask(
            lambda http: self._sdk().oauth.OAuthClient(http).introspect_token(request),
            f"Bearer {token}",
            {400, 401, 403, 404},
        )
        return (answer.username or None) if answer is not None and answer.active else None

    def renew(self, refresh_token: str) -> tuple[str, str] | None:
        types = self._sdk().user_types
        request = fill_in(
            types.GenerateAccessTokenRequest(), refresh_token=refresh_token, api_version=types.ApiVersion.API_VERSION_V1
        )
        answer = self._ask(
            lambda http: self._sdk().users.AccountClient(http).generate_access_token(request), None, {400, 401, 403}
        )
        return (answer.token, answer.user_name) if answer is not None and answer.token else None

    def accepts(self, authorization: str) -> bool:
        request = self._sdk().kernel_types.ApiGetAcceleratorQuotaStatisticsRequest()

        def ask(http: Any) -> bool:
            self._sdk().kernels.KernelsApiClient(http).get_accelerator_quota_statistics(request)
            return True

        return self._ask(ask, authorization, {401}) is True

    def _ask(self, ask: Ask, authorization: str | None, no: set[int]) -> Any:
        """Return the answer, or None if Kaggle's status is one of those that mean no."""

        def once() -> Any:
            try:
                return self._rpc.call(ask, authorization)[0]
            except CallFailed as error:
                if isinstance(error, HttpStatus) and error.status in no:
                    return None
                raise as_read(error, "sign-in") from error

        return self._retry(once)
