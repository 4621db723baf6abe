"""The command line. Each command is a few lines: read the flags, ask the app, show a view."""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.errors import BadInput, RelayError
from orchestrator.settings import Settings, home_folder
from state.failures import StoreCorrupt, StoreUnavailable

if TYPE_CHECKING:  # imported where they are used: `relay --help` must not wait for SQLAlchemy or rich
    from orchestrator.app import App
    from orchestrator.clock import Stop
    from orchestrator.tick import Turn

PIPELINE = click.argument("pipeline", type=click.Path(path_type=Path))
RUN = click.argument("run")
WRITE_OFF = click.option(
    "--write-off", is_flag=True, help="Expect nothing more of the session on Kaggle; the next one takes its place."
)


class Guarded(click.Group):
    """Turns an error that relay raised on purpose into one sentence: exit status 2 for input, 1 for the rest."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except (RelayError, StoreUnavailable, StoreCorrupt) as error:
            if context.params.get("debug"):
                raise
            click.echo(f"relay: {error}", err=True)
            context.exit(2 if isinstance(error, BadInput) else 1)


@click.group(cls=Guarded)
@click.option("--home", type=click.Path(path_type=Path, file_okay=False), help="Folder for relay's state [RELAY_HOME].")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(package_name="relay-kaggle", prog_name="relay")
@click.pass_context
def main(context: click.Context, home: Path | None, debug: bool) -> None:
    """Train on Kaggle in as many sessions as it takes.

    Try it without an account: relay rehearse
    """
    os.umask(0o077)  # whatever relay writes is its owner's alone
    context.obj = Settings(home_folder(home, os.environ), dict(os.environ), debug)


def _app(context: click.Context) -> "App":
    from orchestrator.app import App

    return App(context.obj)


def _stop_on_signals(stop: "Stop") -> None:
    """SIGTERM and SIGINT ask to stop; a second one ends the program at once."""

    def ask(_number: int, _frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    signal.signal(signal.SIGTERM, ask)
    signal.signal(signal.SIGINT, ask)


def _announce(run: str, turn: "Turn") -> None:
    from orchestrator.disk import unless_full
    from orchestrator.views.events import lines

    with unless_full():
        for line in lines(turn):
            click.echo(f"{run}  {line}")
        sys.stdout.flush()


@main.command()
@PIPELINE
@click.option("--new", is_flag=True, help="Start another run beside one of the same pipeline.")
@click.pass_context
def start(context: click.Context, pipeline: Path, new: bool) -> None:
    """Create a run of PIPELINE; the daemon carries it out.

    Example: relay start examples/tiny.yaml
    """
    run = _app(context).start(pipeline, new=new)
    click.echo(f"{run.id} is ready; relay daemon carries it out")


@main.command()
@click.option("--once", is_flag=True, help="Carry each run as far as it goes without waiting, then exit.")
@click.pass_context
def daemon(context: click.Context, once: bool) -> None:
    """Watch over all runs until told to stop.

    Example: relay daemon
    """
    app = _app(context)
    _ = app.gateway
    if once:
        app.work_once(_announce)
    else:
        _stop_on_signals(app.stop)
        app.work(_announce)


@main.command()
@PIPELINE
@click.pass_context
def up(context: click.Context, pipeline: Path) -> None:
    """Start PIPELINE, or go on with its open run, and stay until it needs nobody or somebody.

    Example: relay up examples/tiny.yaml
    """
    app = _app(context)
    run = app.start_or_continue(pipeline)
    click.echo(f"{run.id}  {run.status}")
    _stop_on_signals(app.stop)
    app.work(_announce, _settled(app, run.id))
    show_status(app, run.id, as_json=False)
    context.exit(0 if app.store.load(run.id).run.status.value == "finished" else 1)


def _settled(app: "App", run: str) -> Callable[[], bool]:
    return lambda: app.store.load(run).run.status.value in ("finished", "cancelled", "parked")


@main.command()
@click.argument("run", required=False)
@click.option("--json", "as_json", is_flag=True, help="A stable document for programs.")
@click.pass_context
def status(context: click.Context, run: str | None, as_json: bool) -> None:
    """Where every run (or RUN) stands. Needs no credentials.

    Example: relay status --json
    """
    app = _app(context)
    show_status(app, app.run(run).run.id if run else None, as_json)


def show_status(app: "App", run: str | None, as_json: bool) -> None:
    """Print the status of one run or of all."""
    from orchestrator.views.document import status_document

    store = app.looking if app.has_store else None
    document = status_document(store, app.home.path, app.clock.now(), run, app.warnings())
    if as_json:
        click.echo(json.dumps(document, indent=2))
        return
    from orchestrator.views.printing import print_view
    from orchestrator.views.text import status_view

    print_view(status_view(document))


@main.command()
@RUN
@click.option("--session", type=int, help="Number of the session; default: the newest.")
@click.option("--follow", "-f", is_flag=True, help="Go on while the session runs.")
@click.option("--raw", is_flag=True, help="Show progress events as they are written.")
@click.pass_context
def logs(context: click.Context, run: str, session: int | None, follow: bool, raw: bool) -> None:
    """The log of a session of RUN.

    Example: relay logs gsm-3f9a --session 2
    """
    from orchestrator.views.logs import follow_log, readable, stored_log

    app = _app(context)
    state = app.run(run)
    found = [s for s in state.sessions if session in (None, s.number)]
    if not found:
        known = ", ".join(sorted({str(s.number) for s in state.sessions})) or "none yet"
        raise BadInput(f"{state.run.id} has no session {session or ''}: its sessions are {known}".replace("  ", " "))
    chosen = found[-1]
    live = follow and not chosen.phase.over and chosen.phase.on_kaggle
    source = follow_log(app.gateway, chosen) if live else stored_log(app.home, chosen)
    for line in source:
        text = line if raw else readable(line)
        if text:
            click.echo(text)


@main.command()
@RUN
@click.pass_context
def papers(context: click.Context, run: str) -> None:
    """Where to read what RUN's stages wrote for people: transcripts of evaluations, the hard problems.

    Example: relay papers gsm-3f9a
    """
    app = _app(context)
    found = sorted(path for path in app.home.papers(app.run(run).run.id).glob("*") if path.suffix != ".part")
    for path in found:
        click.echo(f"{path.stat().st_size:>10,} bytes  {path}")
    if not found:
        click.echo("none yet: they come home with a session's checkpoint")


@main.command()
@RUN
@click.option("--verify", is_flag=True, help="Read every byte here, walk the chain of parents, compare with Kaggle.")
@click.option(
    "--pull", is_flag=False, flag_value="all", metavar="[NAME]", help="Bring damaged copies back from Kaggle."
)
@click.option("--prune", is_flag=True, help="Have the daemon remove all but the newest from Kaggle.")
@click.option("--json", "as_json", is_flag=True, help="A document for programs.")
@click.pass_context
def checkpoints(context: click.Context, run: str, verify: bool, pull: str | None, prune: bool, as_json: bool) -> None:
    """The checkpoints of RUN and where they are; exit status 1 where one is damaged.

    Example: relay checkpoints gsm-3f9a --verify
    """
    from orchestrator import inventory

    done = inventory.checkpoints(_app(context), run, verify=verify, pull=pull, prune=prune, as_json=as_json)
    context.exit(done)


@main.command()
@RUN
@click.pass_context
def pause(context: click.Context, run: str) -> None:
    """Let the session that runs come to its end, and start no other.

    Example: relay pause gsm-3f9a
    """
    _ask(context, run, "pause", ("active", "waiting"))


@main.command()
@RUN
@click.option("--from-step", help="Go on from an older checkpoint: STEP, or STAGE:STEP.")
@WRITE_OFF
@click.pass_context
def resume(context: click.Context, run: str, from_step: str | None, write_off: bool) -> None:
    """Go on with a parked or waiting run, from its newest verified checkpoint.

    Example: relay resume gsm-3f9a --from-step grpo:400
    """
    from orchestrator.choose import checkpoint_at, require_over, written_off

    app = _app(context)
    state = app.run(run)
    arguments = written_off(state) if write_off else {}
    if from_step is not None:
        arguments["checkpoint"] = checkpoint_at(state, from_step).name
        if not write_off:
            require_over(state)
    _ask(context, run, "resume", ("parked", "waiting"), arguments)


@main.command()
@RUN
@WRITE_OFF
@click.pass_context
def retry(context: click.Context, run: str, write_off: bool) -> None:
    """Try a parked run again after its cause was mended.

    Example: relay retry gsm-3f9a
    """
    from orchestrator.choose import written_off

    arguments = written_off(_app(context).run(run)) if write_off else {}
    _ask(context, run, "retry", ("parked", "waiting"), arguments)


@main.command()
@RUN
@click.pass_context
def cancel(context: click.Context, run: str) -> None:
    """End a run. Its session on Kaggle, if any, goes on until it ends: Kaggle offers no way to stop it from outside.

    Example: relay cancel gsm-3f9a
    """
    _ask(context, run, "cancel", ("active", "waiting", "parked"))


@main.command()
@click.argument("run", required=False)
@click.option(
    "--pipeline", type=click.Path(path_type=Path), help="The run's pipeline, where its kernels do not hold it."
)
@click.pass_context
def adopt(context: click.Context, run: str | None, pipeline: Path | None) -> None:
    """Make RUN's lost database again from what is on Kaggle; without RUN, list the runs that are there.

    Example: relay adopt gsm-3f9a
    """
    adoption = _app(context).adoption
    if run is None:
        adoption.list(click.echo)
    else:
        adoption.adopt(run, pipeline, click.echo)


def _ask(
    context: click.Context, name: str, verb: str, allowed: tuple[str, ...], arguments: dict[str, str] | None = None
) -> None:
    """Leave a request for the daemon; one that does not fit is refused now."""
    app = _app(context)
    run = app.run(name).run
    if run.status.value not in allowed:
        raise BadInput(f"{run.id} is {run.status}: relay {verb} is for a run that is {' or '.join(allowed)}")
    app.store.request(run.id, verb, arguments or {}, app.clock.now())
    click.echo(f"{run.id}: {verb} noted; the daemon obeys at its next turn")


@main.command()
@click.argument("pipeline", required=False, type=click.Path(path_type=Path))
@click.option("--serve", is_flag=True, help="Only run the local Kaggle and say how to point a client at it.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port of the local Kaggle; default: a free one.")
@click.option("--faults", type=click.Path(path_type=Path), help="Plan of what goes wrong; default: PIPELINE's own.")
@click.option("--calm", is_flag=True, help="Nothing goes wrong.")
@click.option("--short", is_flag=True, help="One step of each stage, short answers: does everything start?")
@click.option(
    "--simulate", type=click.IntRange(min=1), help="So many simulated chains with faults and crashes instead."
)
@click.option("--seed", type=click.IntRange(min=0), help="Of the first simulated chain [default: 1].")
@click.pass_context
def rehearse(
    context: click.Context, /, pipeline: Path | None, simulate: int | None, seed: int | None, **flags: Any
) -> None:
    """Run PIPELINE against a Kaggle on this machine, with real processes and no account.

    Models on Kaggle and data sets are replaced by tiny ones in the same files: a large pipeline is rehearsed with --short.
    With --simulate training is replaced by counting and time is virtual: thousands of chains go through everything that can
    go wrong. A seed that fails is told turn by turn by --simulate 1 --seed N.

    Example: relay rehearse examples/gemma2_2b.yaml --short
    """
    if simulate is not None:
        _refuse_beside_simulate(flags)
        from orchestrator.simulation import command

        context.exit(command.simulate(pipeline, simulate, 1 if seed is None else seed))
    if seed is not None:
        raise BadInput("--seed is for simulated chains: add --simulate N, or leave it out")
    _rehearse(context, pipeline, **flags)


def _rehearse(
    context: click.Context,
    pipeline: Path | None,
    serve: bool,
    port: int,
    faults: Path | None,
    calm: bool,
    short: bool,
) -> None:
    import orchestrator.rehearse as rehearsal
    from orchestrator.clock import Stop

    settings: Settings = context.obj
    chosen = context.parent is not None and context.parent.params.get("home") is not None
    home = settings.home if chosen or settings.environ.get("RELAY_HOME") else Path(".relay/rehearsal")
    stop = Stop()
    _stop_on_signals(stop)
    if serve:
        rehearsal.serve(home, port, faults, stop)
    else:
        plan = rehearsal.faults_for(pipeline, faults, calm)
        context.exit(rehearsal.rehearse(pipeline, home, port, plan, stop, short=short))


def _refuse_beside_simulate(flags: dict[str, Any]) -> None:
    """Simulated chains draw what goes wrong from their seeds."""
    given = [name for name, value in flags.items() if value]
    if given:
        raise BadInput(f"--simulate and --{given[0]} do not go together: leave one of them out")


@main.command("plan")
@PIPELINE
@click.option(
    "--memory", is_flag=True, help="Lower the full-size model for the mesh and say what fits; needs JAX here."
)
@click.option("--json", "as_json", is_flag=True, help="A document for programs.")
@click.pass_context
def show_plan(context: click.Context, pipeline: Path, memory: bool, as_json: bool) -> None:
    """What PIPELINE will do; with --memory whether it fits. Exit status 1 where it does not. Needs no network.

    Example: relay plan examples/gemma2_2b.yaml --memory
    """
    from orchestrator import pipeline_file
    from orchestrator.outline import outline
    from orchestrator.views.plan import memory_view, outline_view
    from orchestrator.views.printing import print_view

    read = pipeline_file.load(pipeline)
    if memory:
        from orchestrator.memory.forecast import memory_document

        document = memory_document(read, str(pipeline), lambda line: click.echo(line, err=True))
    else:
        document = outline(read)
    if as_json:
        click.echo(json.dumps(document, indent=2))
    else:
        print_view(memory_view(document) if memory else outline_view(document))
    context.exit(0 if document.get("fits", True) else 1)


@main.command("verify-resume")
@click.argument("pipeline", required=False, type=click.Path(path_type=Path))
@click.option("--cuts", type=click.IntRange(min=0), help="Cuts at random places [default: 20, or none beside --at].")
@click.option("--at", multiple=True, metavar="STAGE:STEP[:HOW]", help="Cut here; yield, kill, before-save, after-save.")
@click.option("--seed", type=int, default=0, help="Of the random places.")
@click.option("--steps", type=click.IntRange(min=1), help="At most so many steps of each stage.")
@click.option("--keep", type=click.Path(path_type=Path), help="Keep all that the sessions left in this empty folder.")
@click.pass_context
def verify_resume(
    context: click.Context,
    pipeline: Path | None,
    cuts: int | None,
    at: tuple[str, ...],
    seed: int,
    steps: int | None,
    keep: Path | None,
) -> None:
    """Run PIPELINE here, uncut and cut into sessions, and count the bits that differ: exit status 0 where none does.

    Example: relay verify-resume examples/counting.yaml --cuts 5
    """
    from orchestrator.verify import command

    context.exit(command.verify_resume(pipeline, at, cuts, seed, steps, keep))
