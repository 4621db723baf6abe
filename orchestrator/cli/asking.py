"""Commands that ask the trained model."""

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.base.errors import BadInput
from orchestrator.base.humanize import counted
from orchestrator.cli import completing
from orchestrator.cli.common import JSON, app_of

if TYPE_CHECKING:  # imported on use: `relay --help` must not wait for rich
    from orchestrator.app.ask import AnsweringProcess
    from orchestrator.core.asking import Drawing

PROMPT = "ask> "
QUIT = ("/quit", "/exit")
HELP = "/quit and /exit leave, /help shows this; any other line is a question"


@click.command()
@click.argument("run", required=False, shell_complete=completing.runs)
@click.argument("question", required=False)
@click.option(
    "--export",
    "exported",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Ask a folder that relay export wrote, instead of a run.",
)
@click.option(
    "--checkpoint",
    metavar="NAME",
    help="Checkpoint to ask, by its name or STAGE:STEP; default: the newest verified one.",
    shell_complete=completing.checkpoints,
)
@click.option(
    "--base",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder with the base model's files; default: as the pipeline says, downloaded if need be.",
)
@click.option(
    "--temperature",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="Sampling temperature; 0: always the likeliest token, as in evaluations.",
)
@click.option("--top-k", type=click.IntRange(min=1), help="Sample from this many likeliest tokens only.")
@click.option(
    "--top-p",
    type=click.FloatRange(min=0, max=1, min_open=True),
    help="Sample from the likeliest tokens with this total probability only.",
)
@click.option(
    "--max-new-tokens",
    type=click.IntRange(1, 8192),
    help="Longest answer in tokens; default: as in the run's evaluation.",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Seed of sampling; the same gives the same answer."
)
@click.option(
    "--file",
    "asked_file",
    metavar="QUESTIONS",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Have a session answer a .jsonl file with a question on each line; returns at once.",
)
@click.option("--accelerator", help="With --file: accelerator of the session; default: the run's.")
@click.option("--raw", is_flag=True, help="Print the text as it is, with its tags.")
@JSON
@click.pass_context
def ask(
    context: click.Context, /, run: str | None, question: str | None, exported: Path | None, **options: Any
) -> None:
    """Ask the model of RUN on this machine; without QUESTION at a prompt. With --file a session answers.

    Example: relay ask gsm-3f9a "What is 17 + 25?"
    """
    if options["asked_file"] is not None:
        _begin_session(context, run, [question, exported, options["base"]], options)
        return
    if options["accelerator"] is not None:
        raise BadInput("--accelerator needs --file: only a session has a choice of accelerators")
    from orchestrator.app.ask import ModelChoice, answering, chosen_model

    if exported is not None:
        if question is not None:
            raise BadInput("name a run or --export, not both")
        run, question = None, run
    elif run is None:
        raise BadInput("name the run to ask, or --export with a folder of relay export")
    drawing, question = _drawing(options), _question(question, as_json=options["as_json"])
    choice = ModelChoice(run, exported, options["checkpoint"], options["base"], options["max_new_tokens"])
    app = app_of(context)
    model = chosen_model(app, choice)
    with answering(app, model) as process:
        if question is None:
            _converse(process, model.title, drawing, raw=options["raw"])
        elif options["as_json"]:
            _print_document(process, model.title, question, drawing)
        else:
            _answer(process, question, drawing, raw=options["raw"])


def _question(given: str | None, *, as_json: bool) -> str | None:
    """Return the question of the command line, else of standard input; None if a person is to be asked for some."""
    if given is None and sys.stdin.isatty():
        if as_json:
            raise BadInput("--json needs a QUESTION, or one on standard input")
        return None
    question = (sys.stdin.read() if given is None else given).strip()
    if not question and given is None:
        raise BadInput("no QUESTION was given: add it to the command, or write it to standard input")
    if not question:
        raise BadInput("the question is empty")
    return question


def _begin_session(context: click.Context, run: str | None, unfit: list[Any], options: dict[str, Any]) -> None:
    """Begin the run that answers a file; `unfit` are the values of what cannot be combined with --file."""
    from orchestrator.app.asked_file import FileChoice, answer_file

    if run is None:
        raise BadInput("name the run whose model answers the file: relay ask RUN --file QUESTIONS")
    if options["raw"] or any(value is not None for value in unfit):
        raise BadInput("--file takes its questions from the file: leave out QUESTION, --export, --base and --raw")
    names = ("checkpoint", "accelerator", "max_new_tokens")
    choice = FileChoice(run, options["asked_file"], _drawing(options), **{name: options[name] for name in names})
    begun = answer_file(app_of(context), choice)
    if options["as_json"]:
        from orchestrator.views.json_output import print_json, started_document

        print_json(started_document(begun.run) | {"questions": begun.questions, "artifact": begun.artifact})
        return
    answers = f"answers {counted(begun.questions, 'question')} of {options['asked_file'].name} with {begun.origin}"
    state = "is ready, and" if begun.is_new else "exists already: it"
    click.echo(f"{begun.run.id} {state} {answers} on {begun.run.accelerator}; relay daemon executes it")
    click.echo(f"then relay artifacts {begun.run.id} shows where {begun.artifact} is")


def _drawing(options: dict[str, Any]) -> "Drawing":
    from orchestrator.core.asking import Drawing

    if not options["temperature"] and (options["top_k"] or options["top_p"]):
        raise BadInput("--top-k and --top-p need a --temperature above 0, such as 1")
    return Drawing(
        temperature=options["temperature"],
        top_k=options["top_k"] or 0,
        top_p=options["top_p"] or 1.0,
        seed=options["seed"],
    )


def _converse(process: "AnsweringProcess", title: str, drawing: "Drawing", *, raw: bool) -> None:
    """Ask at a prompt until the user ends it. Ctrl-C discards a line, or ends the current answer."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  # input() then has a history, for this session
    click.echo(f"{title}: each question is answered on its own; /quit or Ctrl-D ends")
    while True:
        try:
            question = input(PROMPT).strip()
        except EOFError:
            click.echo()
            return
        except KeyboardInterrupt:
            click.echo()
            continue
        if question in QUIT:
            return
        if not question:
            continue
        if is_word(question):
            said = HELP if question == "/help" else f"unknown command {question}: {HELP}"
            click.echo(f"relay: {said}", err=True)
            continue
        try:
            _answer(process, question, drawing, raw=raw)
        except BadInput as error:
            click.echo(f"relay: {error}", err=True)


def is_word(line: str) -> bool:
    """Return whether a line looks like a command for the prompt, and not like a question."""
    return line.startswith("/") and line[1:].replace("-", "").isalpha()


def _answer(process: "AnsweringProcess", question: str, drawing: "Drawing", *, raw: bool) -> None:
    from orchestrator.views.answers import AnswerPrinter, note_on
    from orchestrator.views.printing import console

    printer = AnswerPrinter(console(), raw=raw)
    answered = process.ask(question, drawing, printer.show)
    printer.end()
    if note := note_on(answered):
        click.echo(note, err=True)


def _print_document(process: "AnsweringProcess", title: str, question: str, drawing: "Drawing") -> None:
    from orchestrator.views.answers import answer_document
    from orchestrator.views.json_output import print_json

    answered = process.ask(question, drawing, lambda _piece: None)
    print_json(answer_document(question, title, answered, drawing))
