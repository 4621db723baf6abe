"""Changes of a run's pipeline: the text to edit, what a changed file would do, and the request to the daemon."""

import getpass
import platform
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from orchestrator.app.app import App
from orchestrator.app.origins import known_runs
from orchestrator.app.requests import RequestReceipt, parked_over_sources, republishing, store_request
from orchestrator.base.errors import BadInput
from orchestrator.core.decide_request import answer
from orchestrator.core.moving import devices_problem, moves, number_lines
from orchestrator.core.pipeline_change import change, session_to_await
from orchestrator.core.selectors import abandon_arguments, checkpoint_at, require_session_ended
from orchestrator.pipeline import loader
from orchestrator.pipeline.files_beside import KnownLock
from orchestrator.pipeline.model import Pipeline
from orchestrator.pipeline.site import Site
from state.facts.run import PipelineChanged, PipelineKept
from state.model.run_state import RunState, Session
from state.model.snapshot import LONG_ARGUMENTS, Request
from state.model.statuses import RunStatus

QUESTIONS_SUFFIX = ".jsonl"


@dataclass(frozen=True, kw_only=True)
class EditedPipeline:
    """A pipeline file as the user changed it."""

    pipeline: Pipeline
    path: Path
    text: str


@dataclass(frozen=True, kw_only=True)
class PlannedChange:
    """Effects of a changed pipeline on a run, and the request that asks for it."""

    run: str
    verb: str
    arguments: dict[str, str]
    lines: tuple[str, ...]
    """The difference, a line for each value."""
    numbers: tuple[str, ...] = ()
    """What becomes of the numbers, in sentences, if the run goes on on another platform."""
    awaited: Session | None = None
    """The session that keeps its order, and after whose end the pipeline changes; None to change it at once."""


def read_file(path: Path, app: App, run: str) -> EditedPipeline:
    """Read and check a changed pipeline file of the run. Raises BadInput."""
    pipeline = loader.load(path, kept_lock(app.expected(app.run(run))))
    return EditedPipeline(pipeline=pipeline, path=path, text=path.read_text(encoding="utf-8"))


def read_text(text: str, app: App, state: RunState) -> EditedPipeline:
    """Check a changed text of the run's pipeline, whose files lie beside the file that the run knows. Raises BadInput."""
    path = Path(state.run.pipeline_path)
    with _folder(app, state) as folder:
        pipeline = loader.parse(text, "the pipeline", folder, kept_lock(app.expected(state)))
        return EditedPipeline(pipeline=pipeline, path=path, text=text)


def kept_lock(state: RunState) -> KnownLock:
    """Return the lock that the run keeps, for the case that its file has been removed since."""
    pipeline = Pipeline.from_canonical(state.run.pipeline)
    return KnownLock(str(pipeline.environment), pipeline.own_lock, unless_there=True)


def text_to_edit(app: App, state: RunState) -> str:
    """Return the run's pipeline as text: with the user's comments if relay or the file still has them, else as YAML."""
    _, facts = app.reader.load_with_facts(state.run.id)
    texts = [fact.pipeline_text for _, fact in facts if isinstance(fact, PipelineChanged)]
    texts += [asked.arguments["text"] for asked in app.reader.requests(state.run.id) if "text" in asked.arguments]
    state = app.expected(state)
    for text in (*texts[-1:], _text_of(Path(state.run.pipeline_path))):
        if text and _means_the_same(text, app, state):
            return text
    plain = Pipeline.from_canonical(state.run.pipeline).model_dump(mode="json", exclude_defaults=True)
    plain.pop("sources", None)
    plain.pop("own_lock", None)
    plain.get("inputs", {}).pop("sha256", None)
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)


def planned_edit(app: App, name: str, edited: EditedPipeline) -> PlannedChange:
    """Return what `relay edit` would do. Raises BadInput if nothing changes, or if it may not."""
    state = _expected(app, name, "edit", (RunStatus.ACTIVE, RunStatus.WAITING, RunStatus.PARKED))
    owner = _owner_elsewhere(app, state, edited)
    lines = _lines(state, edited, owner=owner)
    awaited = session_to_await(state)
    arguments, numbers = _arguments(edited, owner), _numbers(state, edited, owner)
    return PlannedChange(
        run=state.run.id, verb="edit", arguments=arguments, lines=lines, numbers=numbers, awaited=awaited
    )


def planned_retry(
    app: App, name: str, edited: EditedPipeline, from_step: str | None, *, abandon_session: bool
) -> PlannedChange:
    """Return what `relay retry --pipeline` would do. Raises BadInput if nothing changes, or if it may not."""
    state = _expected(app, name, "retry", (RunStatus.WAITING, RunStatus.PARKED))
    run = state.run.id
    owner = _owner_elsewhere(app, state, edited)
    arguments = _arguments(edited, owner) | (abandon_arguments(state) if abandon_session else {})
    numbers = _numbers(state, edited, owner)
    awaited = session_to_await(state)
    unchanged = f"retry {run}" if from_step is None else f"resume {run} --from-step {from_step}"
    if awaited is not None and not abandon_session and from_step is None:
        lines = _lines(state, edited, f"or type relay {unchanged} to try it unchanged", owner=owner)
        return PlannedChange(run=run, verb="retry", arguments=arguments, lines=lines, numbers=numbers, awaited=awaited)
    if from_step is not None:
        if not abandon_session:
            require_session_ended(state)
        arguments["checkpoint"] = checkpoint_at(state, from_step).name
    if parked_over_sources(state):
        wanted = state.checkpoint(arguments["checkpoint"]) if "checkpoint" in arguments else state.head
        arguments |= republishing(app, wanted)
    request = Request(id=0, run=run, verb="retry", arguments=arguments, made_at=app.clock.now())
    facts = answer(request, state).facts
    if kept := next((fact for fact in facts if isinstance(fact, PipelineKept)), None):
        raise BadInput(kept.reason)
    changed = next((fact for fact in facts if isinstance(fact, PipelineChanged)), None)
    lines = () if changed is None else tuple(changed.difference.splitlines())
    _require_difference(lines, state, edited, f"or type relay {unchanged} to try it unchanged")
    return PlannedChange(run=run, verb="retry", arguments=arguments, lines=lines, numbers=numbers)


def ask(app: App, planned: PlannedChange) -> RequestReceipt:
    """Store the request for the daemon. The receipt tells the difference instead of the whole pipeline.

    A retry does not wait for the session that is under way; the change of the pipeline, a request of its own, does.
    """
    if planned.verb == "retry" and planned.awaited is not None:
        store_request(app, planned.run, "edit", planned.arguments)
        stored = store_request(app, planned.run, "retry", {})
    else:
        stored = store_request(app, planned.run, planned.verb, planned.arguments)
    short = {name: value for name, value in planned.arguments.items() if name not in LONG_ARGUMENTS}
    numbers = {"numbers": "\n".join(planned.numbers)} if planned.numbers else {}
    return replace(stored, arguments=short | {"difference": "\n".join(planned.lines)} | numbers)


def _expected(app: App, name: str, verb: str, allowed: tuple[RunStatus, ...]) -> RunState:
    """Return the run's state once its open requests are answered. Raises BadInput if its status does not allow it."""
    state = app.expected(app.run(name))
    run = state.run
    if run.status not in allowed:
        words = " or ".join(allowed)
        more = f": relay resume {run.id} takes the cancel back first" if run.status is RunStatus.CANCELLED else ""
        raise BadInput(f"{run.id} is {run.status}, and relay {verb} is for a run that is {words}{more}")
    return state


def _owner_elsewhere(app: App, state: RunState, edited: EditedPipeline) -> str:
    """Return the account with which the run would go on on another platform; empty if it stays where it is.

    Raises BadInput if relay cannot work there: no credentials, no cluster, no folder, or no checkpoint to carry over.
    """
    known, given = Pipeline.from_canonical(state.run.pipeline), edited.pipeline
    if Site.of(known) == Site.of(given):
        return ""
    owner = app.platforms.of(given).owner()
    if not moves(state.run, given, owner):
        return ""
    origin = state.run.origin
    if origin is not None and state.head is None and origin.run not in known_runs(app):
        raise BadInput(
            f"{edited.path}: {state.run.id} begins from {origin.run}, which is not in this home folder, and has no checkpoint "
            "of its own to go on from yet: keep its platform until its first session has ended"
        )
    if problem := devices_problem(given):
        raise BadInput(f"{edited.path}: {problem}")
    return owner


def _numbers(state: RunState, edited: EditedPipeline, owner: str) -> tuple[str, ...]:
    """Return what becomes of the numbers if the run goes on elsewhere as `owner`; nothing if it stays."""
    if not owner:
        return ()
    new, _ = change(state, edited.pipeline, owner)
    return number_lines(state, state.head, Pipeline.from_canonical(state.run.pipeline), new)


def _lines(state: RunState, edited: EditedPipeline, or_else: str = "", owner: str = "") -> tuple[str, ...]:
    """Return what would change. Raises BadInput if it may not, or if nothing does."""
    _, lines = change(state, edited.pipeline, owner)
    _require_difference(lines, state, edited, or_else)
    return lines


def _require_difference(lines: tuple[str, ...], state: RunState, edited: EditedPipeline, or_else: str = "") -> None:
    if not lines:
        more = f", {or_else}" if or_else else ""
        raise BadInput(f"{edited.path} says what {state.run.id} does already: change it first{more}")


def _arguments(edited: EditedPipeline, owner: str) -> dict[str, str]:
    return ({"owner": owner} if owner else {}) | {
        "pipeline": edited.pipeline.canonical(),
        "path": str(edited.path),
        "text": edited.text,
        "by": f"{_user()}@{platform.node()}",
    }


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # an account without a name, in a container
        return "unknown"


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _means_the_same(text: str, app: App, state: RunState) -> bool:
    """Return True if the run follows this text, also where relay has added the steps of earlier changes."""
    try:
        return not change(state, read_text(text, app, state).pipeline)[1]
    except BadInput:
        return False


def lies_inside(name: str) -> bool:
    """Return True if the file lies in the folder that it is named in, so that a copy may be written there."""
    return not Path(name).is_absolute() and ".." not in Path(name).parts


@contextmanager
def _folder(app: App, state: RunState) -> Iterator[Path]:
    """Yield the folder of the run's pipeline file; if there is none, one with the run's own copies of its files.

    A run that answers a file of questions has that file's path, and its lock is that of the run that trained.
    """
    path = Path(state.run.pipeline_path)
    if path.is_file() and path.suffix != QUESTIONS_SUFFIX:
        yield path.parent
        return
    pipeline = Pipeline.from_canonical(state.run.pipeline)
    with tempfile.TemporaryDirectory(prefix="relay-") as found:
        for name, source in pipeline.texts.items():
            if not lies_inside(name):
                continue
            target = Path(found, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(source, encoding="utf-8")
        for name in pipeline.inputs.files:
            kept = app.home.inputs(state.run.id) / Path(name).name
            if kept.is_file() and lies_inside(name):
                Path(found, name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(kept, Path(found, name))
        yield Path(found)
