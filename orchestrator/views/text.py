"""Run as text: progress, health, forecast and next action. Fits one screen, in 40 columns too."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.base.humanize import local_time, machine_time, when
from orchestrator.core.time_classes import TIME_CLASSES, TimeGroup
from orchestrator.views.curves import Curves, bar
from orchestrator.views.format import STYLES, elapsed_text, progress_text, quota_text, speed_text
from orchestrator.views.history.results import stand_ins_sentence
from orchestrator.views.layout import HangingText, labelled, sentence
from orchestrator.views.memory_peaks import exhausted
from orchestrator.views.numerics import numerics_sentences
from orchestrator.views.origin_text import origin_sentence
from orchestrator.views.platform_moves import move_sentence
from orchestrator.views.tables import current_stage, curves_view, sessions_table, stages_table
from stages.session.time_accounting import TimeClass

OVER = ("finished", "cancelled")
EXCERPT_LINES = 8
REST_TOLD = 3
"""Maximum number of time classes without progress that are listed."""


def run_view(
    run: dict[str, Any],
    now: datetime,
    quotas: Sequence[dict[str, Any]] = (),
    curves: Curves | None = None,
    sessions: int | None = None,
) -> RenderableType:
    """Show one run of a status document. `sessions` limits the number of newest sessions with a row; None for all."""
    parts: list[RenderableType] = [headline(run), *_advice(run)]
    details = [
        *_origin(run),
        *_stand_ins(run),
        *[("memory", Text(line, style="yellow")) for line in exhausted(run)],
        *_waiting(run, now),
        *_twins(run, now),
        *_clocks(run, now),
        *_quota(run, quotas, now),
        *_spent(run),
        *_checkpoint(run, now),
        *_numerics(run),
        *_changed(run, now),
        *_moved(run, now),
    ]
    parts += [labelled(details)] if details else []
    parts.append(stages_table(run))
    if drawn := curves_view(run, curves or {}):
        parts.append(drawn)
    if run["sessions"]:
        parts.append(sessions_table(run, sessions))
    return Group(*parts)


def headline(run: dict[str, Any]) -> RenderableType:
    """Show the run's id, state and progress."""
    percent = 100 * run["steps_done"] / run["steps_total"]
    said = Text.assemble(
        (run["id"], "bold"),
        "  ",
        (run["state"], STYLES[run["state"]]),
        f"  {run['cursor']['stage']} step {run['cursor']['step']}, {run['steps_done']} of {run['steps_total']} steps ({percent:.0f} %)",
    )
    return HangingText(said)


def _advice(run: dict[str, Any]) -> list[RenderableType]:
    """Show what the user has to do, usually nothing, and the log excerpt that explains it."""
    to_do = run.get("to_do") or {"message": run["reason"], "command": run["remedy"]}
    lines: list[RenderableType] = (
        [sentence(to_do["message"], "yellow" if to_do["command"] else "")] if to_do["message"] else []
    )
    excerpt = run["excerpt"].splitlines()[-EXCERPT_LINES:]
    lines += [labelled(("│", Text(line, style="dim")) for line in excerpt)] if excerpt else []
    return [*lines, sentence(f"type: {to_do['command']}", "bold")] if to_do["command"] else lines


# --- labelled lines ------------------------------------------------------------


def _origin(run: dict[str, Any]) -> list[tuple[str, RenderableType]]:
    """Show the checkpoint of another run that the run begins from."""
    return [("origin", Text(origin_sentence(run["origin"])))] if run["origin"] else []


def _stand_ins(run: dict[str, Any]) -> list[tuple[str, RenderableType]]:
    """Show which resources were stand-ins in a rehearsal, so that its measurements are not mistaken for real ones."""
    said = stand_ins_sentence(run["stages"])
    return [("stand-ins", Text(said, style="yellow"))] if said else []


def _waiting(run: dict[str, Any], now: datetime) -> list[tuple[str, RenderableType]]:
    """Show what the run waits for, and what failed."""
    lines: list[tuple[str, RenderableType]] = []
    if run["state"] == "waiting":
        until = f", until {when(_at(run['waiting_until']), now)}" if run["waiting_until"] else ""
        lines.append(("waits", Text(f"{run['reason']}{until}")))
    if run.get("failure") and run["state"] not in OVER:
        again = when(_at(run["retry_at"]), now)
        what = "wrong" if run["failures"] else "waits"
        lines.append((what, Text(f"{run['failure']}; tried again at {again}", style="yellow")))
    return lines


def _twins(run: dict[str, Any], now: datetime) -> list[tuple[str, RenderableType]]:
    """Show sessions that run a second time by mistake."""
    return [
        (
            "twice",
            Text(
                f"version {session['twin']['version']} of {session['slug']} has also been running "
                f"since {when(_at(session['twin']['at']), now)} and uses a slot and quota; stop it on its Kaggle page, "
                "or wait for its end",
                style="yellow",
            ),
        )
        for session in run["sessions"]
        if session.get("twin") and session["twin"]["ended_at"] is None and run["state"] not in OVER
    ]


def _clocks(run: dict[str, Any], now: datetime) -> list[tuple[str, RenderableType]]:
    """Show the forecast, the live session's time, and its speed."""
    lines: list[tuple[str, RenderableType]] = []
    if run["state"] == "parked":
        lines.append(("done", Text("not before it is resumed", style="dim")))
    elif forecast := run.get("forecast"):
        lines.append(("done", Text(_done(forecast, now))))
    elif run.get("forecast_problem"):
        lines.append(("done", Text(f"not known: {run['forecast_problem']}", style="dim")))
    if run["sessions"] and run["sessions"][-1]["outcome"] is None and run["state"] not in OVER:
        session = run["sessions"][-1]
        lines.append((f"session {session['number']}", Text(session_clock(session, now))))
        speed = speed_text(current_stage(run)["metrics"])
        lines += [("speed", Text(speed))] if speed else []
        progress = progress_text(current_stage(run)["metrics"])
        lines += [("steps", Text(progress))] if progress else []
    return lines


def _done(forecast: dict[str, Any], now: datetime) -> str:
    earliest, latest = _at(forecast["finish_earliest_at"]), _at(forecast["finish_latest_at"])
    span = f", between {local_time(earliest, now)} and {local_time(latest, now)}" if earliest != latest else ""
    sessions, weeks = forecast["sessions"], forecast["weeks"]
    more = [f"{sessions} more session{'' if sessions == 1 else 's'}"] if sessions else []
    more += [f"{weeks} renewal{'' if weeks == 1 else 's'} of the quota"] if weeks else []
    assumed = " (partly assumed)" if forecast["basis"] != "measured" else ""
    return f"about {when(_at(forecast['finish_at']), now)}{span}{'; ' if more else ''}{' and '.join(more)}{assumed}"


def session_clock(session: dict[str, Any], now: datetime) -> str:
    """Format a session's phase and, while it runs, its elapsed time and planned stop."""
    if session["phase"] != "running" or session["seconds"] is None:
        since = session["pushed_at"] or session["planned_at"]
        return f"{session['phase']}, {when(_at(since), now)}"
    limit_s = session["limit_s"]
    said = f"{bar(session['seconds'], limit_s, 10)} {elapsed_text(session['seconds'], limit_s)}"
    if session["seconds"] > limit_s:
        return f"{said}: its time is over, and relay has yet to see how it ended"
    return f"{said}, stops itself by {when(_at(session['stops_by']), now)}" if session["stops_by"] else said


def _quota(run: dict[str, Any], quotas: Sequence[dict[str, Any]], now: datetime) -> list[tuple[str, RenderableType]]:
    """Show the remaining quota of the run's account and accelerator, for an open run."""
    mine = [q for q in quotas if (q["owner"], q["accelerator"]) == (run["owner"], run.get("accelerator"))]
    return [("quota", Text(quota_text(quota, now))) for quota in mine if run["state"] not in OVER]


def _spent(run: dict[str, Any]) -> list[tuple[str, RenderableType]]:
    """Show how the run's quota was used."""
    spent = run.get("quota_spent")
    return [("goodput", Text(goodput_text(spent)))] if spent else []


def goodput_text(spent: dict[str, Any]) -> str:
    """Format the share of quota spent on steps that count, and the largest other uses."""
    seconds = {TimeClass(name): s for name, s in spent["classes"].items()}
    rest = {name: s for name, s in seconds.items() if TIME_CLASSES[name].group != TimeGroup.TRAINING}
    largest = sorted(rest, key=lambda name: -rest[name])[:REST_TOLD]
    told = [f"{100 * rest[name] / spent['quota_s']:.1f} % {TIME_CLASSES[name].label}" for name in largest]
    return f"{100 * spent['goodput']:.1f} % of {machine_time(spent['quota_s'])} went into steps that count" + (
        f"; {', '.join(told)}" if told else ""
    )


def _checkpoint(run: dict[str, Any], now: datetime) -> list[tuple[str, RenderableType]]:
    """Show the newest verified checkpoint, and any damage that was found."""
    lines: list[tuple[str, RenderableType]] = []
    newest = next((c for c in reversed(run["checkpoints"]) if c["status"] in ("collected", "published")), None)
    if newest:
        said = f"{newest['name']}: {newest['stage']} step {newest['step']}, verified {when(_at(newest['verified_at']), now)}"
        lines.append(("checkpoint", Text(said)))
    if run.get("damage"):
        lines.append(("damage", Text(damage_line(run["damage"]), style="yellow")))
    if run.get("models"):
        last = run["models"][-1]
        lines.append(("published", Text(f"{last['model']} ({'public' if last['public'] else 'private'})")))
    return lines


def _numerics(run: dict[str, Any]) -> list[tuple[str, RenderableType]]:
    """Show from which session on the run may compute other bits than before, and why."""
    return [("bits", Text(said, style="yellow")) for said in numerics_sentences(run["numerics"])]


def _changed(run: dict[str, Any], now: datetime) -> list[tuple[str, RenderableType]]:
    """Show the newest change of the pipeline, and how many there were before it."""
    if not (changes := run.get("changes")):
        return []
    last, earlier = changes[-1], len(changes) - 1
    more = f" ({earlier} earlier change{'' if earlier == 1 else 's'})" if earlier else ""
    return [("pipeline", Text(f"changed {when(_at(last['at']), now)}: {'; '.join(last['difference'])}{more}"))]


def _moved(run: dict[str, Any], now: datetime) -> list[tuple[str, RenderableType]]:
    """Show each change of the run's platform."""
    moves = run.get("moves") or []
    return [("moved", Text(f"{when(_at(move['at']), now)}, {move_sentence(move)}")) for move in moves]


def damage_line(damage: list[dict[str, Any]]) -> str:
    """Format how often damage was found, and the last place."""
    last, times = damage[-1], "once" if len(damage) == 1 else f"{len(damage)} times"
    kept = "; the damaged files are kept in the run's quarantine" if any(found["kept"] for found in damage) else ""
    return f"damaged bytes were found {times} and not used, last in {last['checkpoint']} ({last['place']}){kept}"


def _at(iso: str) -> datetime:
    return datetime.fromisoformat(iso)
