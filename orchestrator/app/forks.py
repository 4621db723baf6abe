"""Forks and sweeps: the pipeline file of a run to continue in another way, and the runs that share a beginning."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from orchestrator.app.dataset_origins import origin_options
from orchestrator.app.pipeline_edits import kept_lock, lies_inside
from orchestrator.app.workspace import Workspace
from orchestrator.base.disk import disk_errors, write_whole
from orchestrator.base.errors import BadInput
from orchestrator.core.selectors import verified_checkpoint
from orchestrator.pipeline import loader
from orchestrator.pipeline.fork import fork_problem
from orchestrator.pipeline.init.yaml_edit import commented_text, read_commented, set_value
from orchestrator.pipeline.model import Pipeline
from orchestrator.pipeline.sections import OriginOptions
from orchestrator.pipeline.settings import Setting, Variant, derived_name, read_setting, shared_stages, variants
from stages.contract import HISTORY, Cursor
from state.model.run_state import RunState

if TYPE_CHECKING:
    from orchestrator.app.app import App

HEAD = (
    "# A fork of {run}: its history until {at}, and a future of its own. Change what comes after that; the stages\n"
    "# until there, the seed and the model stay as they are. relay start begins it.\n"
)


# --- a fork ------------------------------------------------------------------------


@dataclass(frozen=True)
class ForkFile:
    """A pipeline file that was written."""

    path: Path
    run: str
    """Run that the fork leaves."""
    at: str
    """Place where it leaves that run, as `STAGE:STEP`."""
    beside: tuple[str, ...] = ()
    """Files of the run that were written beside it."""


def write_fork(workspace: Workspace, name: str, at: str | None, to: Path | None) -> ForkFile:
    """Write the pipeline of a run, tied to one of its checkpoints, as a new file; without `at` to the newest one.

    The data files and modules that the run uses are written beside it unless files of these names are there. Raises
    BadInput, with nothing written, if there is no such checkpoint or if the file exists.
    """
    state = workspace.run(name)
    checkpoint = verified_checkpoint(state, at, f"--at {at}: " if at else "")
    pipeline = Pipeline.from_canonical(state.run.pipeline)
    known = [other for _, other in workspace.reader.run_names()]
    called = derived_name(pipeline.name, "fork", known)
    path = to or Path(f"{called}.yaml")
    if path.exists() or path.is_symlink():
        raise BadInput(f"{path} exists already: name another file with -o, or remove it first")
    if not path.parent.is_dir():
        raise BadInput(f"{path}: {path.parent} is not a folder: create it first")
    origin = origin_options(checkpoint, HISTORY)
    with disk_errors(path.parent):
        beside = _files_beside(workspace, state, pipeline, path.parent)
        text = _text(state, pipeline, called, origin)
        write_whole(path, (HEAD.format(run=state.run.id, at=origin.at) + text).encode())
    return ForkFile(path, state.run.id, origin.at, beside)


def _text(state: RunState, pipeline: Pipeline, called: str, origin: OriginOptions) -> str:
    """Return the pipeline as YAML: the run's own file with its comments, if it still says what the run does."""
    text = _own_text(state, pipeline)
    document = read_commented(text or yaml.safe_dump(_plain(pipeline), sort_keys=False, allow_unicode=True))
    document["name"] = called
    document.pop("origin", None)
    set_value(document, "origin", origin.model_dump(mode="json"))
    return commented_text(document)


def _own_text(state: RunState, pipeline: Pipeline) -> str:
    path = Path(state.run.pipeline_path)
    try:
        text = path.read_text(encoding="utf-8")
        found = loader.parse(text, str(path), path.parent, kept_lock(state))
    except (OSError, UnicodeDecodeError, BadInput):
        return ""
    mine, theirs = (each.work.model_copy(update={"origin": OriginOptions()}) for each in (pipeline, found))
    return text if mine == theirs else ""


def _plain(pipeline: Pipeline) -> dict[str, Any]:
    """Return the keys that a user may write."""
    plain = pipeline.model_dump(mode="json", exclude_defaults=True, exclude={"sources", "own_lock", "origin"})
    plain.get("inputs", {}).pop("sha256", None)
    return plain


def _files_beside(workspace: Workspace, state: RunState, pipeline: Pipeline, folder: Path) -> tuple[str, ...]:
    """Write the run's modules and data files into the folder, but no file whose name is there already."""
    stored = workspace.home.inputs(state.run.id)
    contents = {name: text.encode() for name, text in pipeline.texts.items() if lies_inside(name)}
    inside = [
        name for name in pipeline.inputs.files if lies_inside(name)
    ]  # elsewhere the user's own files stay as they are
    missing = [name for name in inside if not (folder / name).exists()]
    contents |= {name: (stored / Path(name).name).read_bytes() for name in missing}
    written = []
    for name, content in contents.items():
        if not (folder / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            write_whole(folder / name, content)
            written.append(name)
    return tuple(written)


# --- a sweep -----------------------------------------------------------------------


@dataclass(frozen=True)
class Sweep:
    """Runs that differ in some options: the first trains what they share, the others fork from it."""

    path: Path
    variants: tuple[Variant, ...]
    shared: Cursor | None
    """End of the last shared stage; None if the first stage differs already, so that nothing is shared."""

    @property
    def planned(self) -> tuple[Variant, ...]:
        """The variants as they begin, the first with its fork point; the name of its run is not known yet."""
        first, *others = self.variants
        if self.shared is None:
            return self.variants
        points = tuple(dict.fromkeys((*first.pipeline.fork_points, self.shared.stage)))
        begun = Variant(first.pipeline.model_copy(update={"fork_points": points}), first.values)
        return (begun, *(Variant(self.forked(other.pipeline, "a-run"), other.values) for other in others))

    def forked(self, pipeline: Pipeline, run: str) -> Pipeline:
        """Return the pipeline as a fork of this run at the end of the shared stages."""
        assert self.shared is not None
        origin = OriginOptions(run=run, at=f"{self.shared.stage}:{self.shared.step}")
        return pipeline.model_copy(update={"origin": origin})


def plan_sweep(path: Path, texts: tuple[str, ...]) -> Sweep:
    """Return the runs of a sweep over a pipeline file. Raises BadInput if they would make no sense."""
    pipeline = loader.load(path)
    if pipeline.origin != OriginOptions():
        raise BadInput(f"{path}: a sweep begins with a run of its own: remove origin from the file")
    settings: list[Setting] = [read_setting(text, pipeline) for text in texts]
    found = tuple(
        Variant(loader.check(_plain(each.pipeline), str(path), path.parent), each.values)
        for each in variants(pipeline, settings)
    )
    count = shared_stages(settings, pipeline)
    stage = pipeline.stages[count - 1] if count else None
    shared = Cursor(stage=stage.name, step=found[0].pipeline.stages[count - 1].steps) if stage else None
    if shared is not None:
        for other in found[1:]:
            if problem := fork_problem(found[0].pipeline, other.pipeline, shared):
                raise BadInput(f"{path}: the runs cannot share the stages until {shared.stage}: {problem}")
    return Sweep(path, found, shared)


def start_sweep(app: "App", sweep: Sweep) -> list[tuple[str, Variant]]:
    """Create the runs of a sweep and return their ids. Raises BadInput, with nothing created, if one of them is open."""
    for variant in sweep.variants:
        app.refuse_lost(sweep.path, variant.pipeline)
        if found := app.open_runs(variant.pipeline.name):
            raise BadInput(
                f"{sweep.path}: run {found[0].id} of an earlier sweep is {found[0].status}: let it finish, or relay cancel "
                f"{found[0].id}"
            )
    begun: list[tuple[str, Variant]] = []
    for index, variant in enumerate(sweep.planned):
        pipeline = variant.pipeline
        if index and sweep.shared is not None:
            pipeline = sweep.forked(sweep.variants[index].pipeline, begun[0][0])
        run = app.begin(pipeline, sweep.path, may_wait=True)
        begun.append((run.id, variant))
    return begun
