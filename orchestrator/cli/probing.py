"""Command that finds out whether Kaggle behaves as relay assumes."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.base.errors import BadInput
from orchestrator.base.humanize import counted
from orchestrator.base.systems import shell_word
from orchestrator.cli.common import JSON, PIPELINE_OR_NONE, app_of, stop_on_signals, workspace_of
from orchestrator.cli.daemons import open_daemon_log

if TYPE_CHECKING:  # imported on use: `relay --help` must not wait for pydantic or rich
    from orchestrator.app.app import App
    from orchestrator.app.probe.command import ProbeBegun
    from orchestrator.pipeline.model import Pipeline

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@PIPELINE_OR_NONE
@click.option(
    "--accelerator",
    "--tpu",
    "measure",
    is_flag=True,
    help="Then measure the pipeline's stages on its accelerator, about three minutes after the start-up; asks first.",
)
@click.option("--yes", "-y", is_flag=True, help="With --accelerator: spend the quota without asking.")
@click.option("--again", is_flag=True, help="Repeat a probe that is still fresh.")
@click.option("--export", "exported", type=FILE, metavar="FILE", help="Write the account's evidence without any names.")
@click.option("--import", "imported", type=FILE, metavar="FILE", help="Import evidence that somebody else exported.")
@JSON
@click.pass_context
def probe(context: click.Context, /, pipeline: Path | None, **options: Any) -> None:
    """Find out on your own account whether Kaggle behaves as relay assumes; without --accelerator no quota is used.

    Two sessions on a CPU install what PIPELINE needs, write, and compare what they mount. With --export or --import alone
    PIPELINE is left out. The exit status is 1 if something was seen that would stop a run.

    Example: relay probe gsm.yaml
    """
    from orchestrator.app.evidence import refuse_target

    exported, imported, as_json = (options[name] for name in ("exported", "imported", "as_json"))
    if pipeline is None:
        _require_files(options)
    if exported is not None:
        refuse_target(exported)
    if imported is not None:
        _import(context, imported, as_json=as_json)
    if pipeline is None:
        if exported is not None:
            _export(context, exported, as_json=as_json)
        return
    stopped = _probe(context, pipeline, options)
    if exported is not None:
        _export(context, exported, as_json=False, to_stderr=as_json)
    context.exit(1 if stopped else 0)


def _require_files(options: dict[str, Any]) -> None:
    """Raise BadInput unless the options make sense without a pipeline."""
    if options["exported"] is None and options["imported"] is None:
        raise BadInput("name the pipeline to probe: relay probe PIPELINE; or --export or --import with a file")
    if options["measure"] or options["again"]:
        raise BadInput("--accelerator and --again need a pipeline: relay probe PIPELINE --accelerator")
    if options["as_json"] and options["exported"] is not None and options["imported"] is not None:
        raise BadInput("--json describes one file: give --export and --import in two commands")


def _import(context: click.Context, path: Path, *, as_json: bool) -> None:
    from orchestrator.app.evidence import import_others
    from orchestrator.views.json_output import print_json

    found = import_others(workspace_of(context), path)
    if as_json and context.params["pipeline"] is None:
        print_json({"format": 1, "path": str(path), "entries": len(found.evidence), "unknown": found.unknown})
        return
    beside = f"; {found.unknown} are of a newer relay and were left out" if found.unknown else ""
    click.echo(
        f"{counted(len(found.evidence), 'entry', 'entries')} of {path} kept beside your own{beside}", err=as_json
    )


def _export(context: click.Context, path: Path, *, as_json: bool, to_stderr: bool = False) -> None:
    from orchestrator.app.evidence import export
    from orchestrator.views.json_output import print_json

    app = app_of(context)
    entries = export(app, app.gateway.owner(), path)
    if as_json:
        print_json({"format": 1, "path": str(path), "entries": entries, "unknown": 0})
        return
    click.echo(f"{path} has {counted(entries, 'entry', 'entries')}, without names", err=to_stderr)


def _probe(context: click.Context, path: Path, options: dict[str, Any]) -> bool:
    """Run the probes and show what they saw; returns whether something would stop a run."""
    from orchestrator.app.probe import command
    from orchestrator.pipeline import loader
    from orchestrator.views import probe as view
    from orchestrator.views.json_output import print_json
    from orchestrator.views.printing import print_view

    app, as_json, again = app_of(context), options["as_json"], options["again"]
    trained = loader.load(path).alone
    app.platforms.require_kaggle(trained, "relay probe")
    if options["measure"] and not _may_measure(app, trained, path, options):
        click.echo("relay: nothing was started", err=True)
        return True
    stop_on_signals(app.stop)
    begun = [command.begin_machine(app, trained, path, _sayer(as_json), again=again)]
    settled = _carry_out(app, begun[-1], as_json=as_json)
    if settled and command.goes_on_without_version(app, begun[-1].run.id):
        command.keep_of_run(app, command.probed(app, begun[-1].run.id), of_account=False)
        begun = [command.begin_machine(app, trained, path, _sayer(as_json), again=again)]
        settled = _carry_out(app, begun[-1], as_json=as_json)
    typed = f"relay probe {shell_word(str(path))}{' --accelerator' if options['measure'] else ''}"
    document = _kept(app, trained.name, begun, typed, settled=settled)
    if options["measure"] and settled and view.is_stopped(document):
        click.echo(
            "relay: the accelerator is not measured, because the first sessions found something that stops a run",
            err=True,
        )
    elif options["measure"] and settled:
        begun.append(command.begin_measuring(app, trained, path, again=again))
        document = _kept(app, trained.name, begun, typed, settled=_carry_out(app, begun[-1], as_json=as_json))
    if as_json:
        print_json(document)
    else:
        print_view(view.probe_view(document))
    return view.is_stopped(document)


def _kept(app: "App", name: str, begun: "list[ProbeBegun]", typed: str, *, settled: bool) -> dict[str, Any]:
    """Keep what the newest run saw if it is settled, and return the document; `typed` is the command."""
    from orchestrator.app import evidence
    from orchestrator.app.probe import command
    from orchestrator.views.probe import probe_document

    runs = [command.probed(app, each.run.id) for each in begun]
    if settled:
        command.keep_of_run(app, runs[-1], of_account=len(runs) == 1)
    return probe_document(name, runs, evidence.own(app, app.gateway.owner()), typed)


def _sayer(as_json: bool) -> Callable[[str], None]:
    return lambda line: click.echo(line, err=as_json)


def _carry_out(app: "App", begun: "ProbeBegun", *, as_json: bool) -> bool:
    """Follow a run as `relay up` does; returns False if the user ended that before the run was settled."""
    from orchestrator.app.app import SETTLED
    from orchestrator.app.probe.command import follow

    run = begun.run
    if not begun.is_new:
        over = app.store.load(run.id).run.status in SETTLED
        said = "shows what it saw; --again repeats it" if over else "is still running: following it"
        click.echo(f"{run.id} {said}", err=True)

    def daemon(settled: Callable[[], bool]) -> None:
        if as_json:  # standard output holds the document alone
            app.work(lambda _run, _tick: None, settled)
            return
        with open_daemon_log(app, None, "text", quiet=False, verbose=False) as journal:
            journal.begin(run.id, run.status.value)
            app.work(journal, settled)

    done = follow(app, run.id, daemon)
    if not done:
        click.echo(f"relay: {run.id} continues: repeat the command to follow it, or start relay daemon", err=True)
    return done


def _may_measure(app: "App", trained: "Pipeline", path: Path, options: dict[str, Any]) -> bool:
    """Ask whether the quota may be spent, unless that was answered or nothing new is begun.

    Raises BadInput if nobody can be asked.
    """
    from orchestrator.app.probe.command import known_measuring
    from orchestrator.app.probe.derived import MEASURE_LIMIT_S, MEASURE_S

    quota = trained.hardware.quota.upper()
    if options["yes"] or not quota or known_measuring(app, trained, path, again=options["again"]) is not None:
        return True
    if options["as_json"] or not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise BadInput(f"relay probe --accelerator asks before it spends {quota} quota, and cannot ask here: add --yes")
    return click.confirm(
        f"After the sessions on a CPU, measure on {trained.accelerator}? That spends the start-up and "
        f"{MEASURE_S / 60:.0f} minutes of {quota} quota, at most {MEASURE_LIMIT_S / 60:.0f} minutes"
    )
