"""Actions of the dashboard: what each will do, and the same requests as the commands of the same name store."""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from orchestrator.app import pipeline_edits, requests
from orchestrator.app.app import App
from orchestrator.app.requests import RequestReceipt
from orchestrator.app.web.audit import AuditLog
from orchestrator.app.web.visits import VisitAccess, set_cookie
from orchestrator.base.errors import BadInput, RelayError
from orchestrator.base.terminal import escape_controls
from orchestrator.core.pipeline_change import session_to_await
from orchestrator.core.request_rules import ALLOWED
from orchestrator.views.document import daemon_document
from orchestrator.views.pages import working
from orchestrator.views.request_text import change_lines, obeyed_when, question_lines, receipt_line

FORM_BYTES_MAX = 2**20
FIELDS_MAX = 20
REQUESTS_SHOWN = 100
NEXT = re.compile(r"/(?:runs/[^/?#\\]+(?:/(?:pause|resume|retry|cancel|edit))?)?")
"""Addresses that a login may lead to: the list, a run, or the page of an action."""
DASHBOARD = "dashboard"
"""Name under which the dashboard stores requests."""

Form = Mapping[str, str]


class TooLong(Exception):
    """The body of a form is longer, or has more fields, than any page of the dashboard would send."""


async def read_form(request: Request) -> dict[str, str]:
    """Read a form's fields; of repeated ones the last. Raises TooLong."""
    body = b""
    async for block in request.stream():
        body += block
        if len(body) > FORM_BYTES_MAX:
            raise TooLong
    try:
        found = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=FIELDS_MAX)
    except ValueError as error:
        raise TooLong from error
    return {name: values[-1].replace("\r\n", "\n") for name, values in found.items()}


@dataclass
class Acting:
    """Routes that act on runs, for visitors who gave the token. Everything else is refused and changes nothing."""

    relay: App
    access: VisitAccess
    audit: AuditLog
    require_run: Callable[[str], Any]
    """Function that raises if there is no run of this id, or if the database cannot be used as it is."""

    def routes(self) -> list[Route]:
        """Return the routes, of which only POST changes anything."""
        verbs = [Route(f"/runs/{{run}}/{verb}", self._route(verb), methods=["GET", "POST"]) for verb in ALLOWED]
        return [
            Route("/login", self.login, methods=["GET", "POST"]),
            Route("/logout", self.logout, methods=["POST"]),
            Route("/runs/{run}/requests", self.made),
            *verbs,
        ]

    # --- visits -----------------------------------------------------------------

    async def login(self, request: Request) -> Response:
        """Ask for the token, and begin a visit if it is right."""
        if request.method != "POST":
            return HTMLResponse(working.login_page("/"))
        form = await read_form(request)
        next_path = form.get("next", "/")
        next_path = next_path if NEXT.fullmatch(next_path) else "/"
        value = self.access.begin(form.get("token", "").strip())
        if value is None:
            await run_in_threadpool(self.audit.refused_token)
            problem = "this is not the token: the terminal in which relay dashboard runs shows it"
            return HTMLResponse(working.login_page(next_path, problem), 403)
        answer = RedirectResponse(next_path, 303)
        set_cookie(request, answer, value)
        return answer

    async def logout(self, request: Request) -> Response:
        """End the visit."""
        form = await read_form(request)
        if self.access.takes(request, form.get("form", ""), "logout"):
            self.access.end(request)
        return RedirectResponse("/", 303)

    # --- actions ----------------------------------------------------------------

    def _route(self, verb: str) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            run = request.path_params["run"]
            form = await read_form(request) if request.method == "POST" else None
            return await run_in_threadpool(self._answer, request, run, verb, form)

        return answer

    def _answer(self, request: Request, run: str, verb: str, form: Form | None) -> Response:
        self.require_run(run)
        try:
            if form is None:
                return self._asked_first(request, run, verb)
            if not self.access.knows(request):
                return _refused(run, "you are not logged in: log in with the token, then use the button again", 403)
            if not self.access.takes(request, form.get("form", ""), _purpose(verb, run, form)):
                return _refused(run, "this form is not the dashboard's, is too old, or was used: open it again", 403)
            if verb == "edit" and "confirmed" not in form:
                return self._shown_change(request, run, _edited(form))
            number = self._stored(run, verb, form)
        except BadInput as error:
            return _refused(run, str(error), 409)
        except RelayError as error:
            return _refused(run, str(error), 503)
        return RedirectResponse(f"/runs/{quote(run)}/requests?number={number}", 303)

    def _asked_first(self, request: Request, run: str, verb: str) -> Response:
        """Show what an action will do. The page has the form that has it done only for visitors who gave the token."""
        state = requests.allowing(self.relay, run, verb)
        token = self.access.form_token(request, _purpose(verb, run, {}))
        if verb == "edit":
            if not token:
                return HTMLResponse(working.login_page(f"/runs/{run}/edit"))
            return HTMLResponse(working.edit_page(run, pipeline_edits.text_to_edit(self.relay, state), token))
        pending = state.last is not None and state.last.pending
        return self._confirm(run, verb, question_lines(verb, state, self._now()), {"token": token, "pending": pending})

    def _shown_change(self, request: Request, run: str, text: str) -> Response:
        """Show what a changed pipeline changes, or the form again with what is wrong with it."""
        try:
            planned = pipeline_edits.planned_edit(self.relay, run, self._read(run, text))
        except BadInput as error:
            token = self.access.form_token(request, _purpose("edit", run, {}))
            return HTMLResponse(working.edit_page(run, text, token, str(error)), 409)
        token = self.access.form_token(request, _purpose("edit", run, {"confirmed": "yes", "text": text}))
        lines = change_lines(run, planned.lines, planned.awaited, planned.numbers)
        return self._confirm(run, "edit", lines, {"token": token, "pending": False, "text": text})

    def _confirm(self, run: str, verb: str, lines: list[str], values: dict[str, Any]) -> Response:
        return HTMLResponse(
            working.confirm_page(run, verb, lines, {"text": "", **values, "attended": self._attended()})
        )

    def _stored(self, run: str, verb: str, form: Form) -> int:
        """Store the request, as the command does, and write the audit line. Return the request's number."""
        self.audit.ready()  # raises if the line could not be written
        number = self._request(run, verb, form).number
        self.audit.action(run, f"{verb} was asked for on the dashboard (request {number})", verb, number)
        return number

    def _request(self, run: str, verb: str, form: Form) -> RequestReceipt:
        abandon = form.get("abandon_session") == "yes"
        match verb:
            case "pause":
                return requests.pause(self.relay, run)
            case "resume":
                step = form.get("from_step", "").strip() or None
                return requests.resume(self.relay, run, step, abandon_session=abandon)
            case "retry":
                return requests.retry(self.relay, run, abandon_session=abandon)
            case "cancel":
                return requests.cancel(self.relay, run)
            case _:
                planned = pipeline_edits.planned_edit(self.relay, run, self._read(run, _edited(form)))
                return pipeline_edits.ask(self.relay, planned)

    def _read(self, run: str, text: str) -> pipeline_edits.EditedPipeline:
        return pipeline_edits.read_text(text, self.relay, self.relay.run(run))

    # --- what was asked -----------------------------------------------------------

    def made(self, request: Request) -> Response:
        """Show the requests about a run: what, when, by whom, and when it was answered."""
        run = request.path_params["run"]
        self.require_run(run)
        made = self.relay.reader.requests_made(run, REQUESTS_SHOWN)
        number = request.query_params.get("number", "")
        found = next((one.request for one in made if str(one.request.id) == number), None)
        receipt = ""
        if found is not None:
            state = self.relay.reader.load(run)
            awaited = session_to_await(state) if found.verb == "edit" else None
            receipt = receipt_line(run, found.verb, obeyed_when(awaited), attended=self._attended())
        return HTMLResponse(working.requests_page(run, receipt, made))

    def _attended(self) -> bool:
        daemon = daemon_document(self.relay.reader.lease(), self._now())
        return daemon is not None and bool(daemon["runs"])

    def _now(self) -> datetime:
        return self.relay.clock.now()


def _purpose(verb: str, run: str, form: Form) -> str:
    """Return what a form is for. That of a confirmed change holds the text, so that no other text can be stored."""
    if "confirmed" not in form:
        return f"{verb} {run}"
    return f"confirmed {verb} {run} {hashlib.sha256(form.get('text', '').encode()).hexdigest()}"


def _edited(form: Form) -> str:
    """Return the text of a pipeline that was edited. Raises BadInput for one that a form would not keep as it is."""
    text = form.get("text", "")
    if escape_controls(text) != text:
        raise BadInput("the pipeline has control characters: remove them, or edit it with relay edit")
    return text


def _refused(run: str, sentence: str, status: int) -> Response:
    return HTMLResponse(working.refused_page(run, sentence), status)
