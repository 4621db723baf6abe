"""The memory that a pipeline needs as text; 80 columns suffice."""

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.views.layout import plain_table

GIB = 2**30


def memory_view(document: dict[str, Any]) -> RenderableType:
    """Show the document that `memory_document` returns: a row per phase, the checkpoints, and advice."""
    model, mesh = document["model"], document["mesh"]
    where = (
        "a CPU, whose arrays are in the machine's memory of"
        if document["one_memory"]
        else f"{mesh['fsdp']} × {mesh['tp']} chips ({document['chip']}) of"
    )
    title = f"  {model['kind']} in {model['dtype']}, {where} {gib(document['memory_bytes'])} GiB; GiB"
    parts: list[RenderableType] = [
        Text.assemble((document["pipeline"], "bold"), title, "" if document["one_memory"] else " a chip"),
        _phases(document["stages"], document["one_memory"]),
        Text(),
    ]
    if not document["one_memory"]:
        parts += [_hosts(document), Text()]
    if any(stage["measured_in"] for stage in document["stages"]):
        parts += [_compared(document), Text()]
    parts += [_checkpoints(document), Text()]
    parts += [Text(line) for line in advice(document)]
    parts.append(Text(f"Error of this plan: {document['accuracy']}."))
    parts.append(
        Text(
            "Weights, adapters, optimizers and caches are exact. Temporaries are what XLA's CPU compiler plans for the same "
            "program; what is beside them on a host is a model of measurements.",
            style="dim",
        )
    )
    return Group(*parts)


def _phases(stages: list[dict[str, Any]], one_memory: bool) -> Table:
    table = plain_table("stage and phase")
    beside = ("beside",) if one_memory else ()
    for name in ("rows", "model", "optim.", "cache", "temp.", *beside, "sum", "largest"):
        table.add_column(name, justify="right", no_wrap=True)
    for stage in stages:
        limit = f"batch {stage['largest_batch']}" if stage["largest_batch"] else "none fits"
        limit = "any batch" if stage["any_batch"] else limit
        table.add_row(
            Text(f"{', '.join(stage['names'])}: batch {stage['batch']}", style="bold"),
            *[""] * (6 + one_memory),
            Text(limit, style="" if stage["fits"] else "bold red"),
        )
        for phase in stage["phases"]:
            table.add_row(f"  {phase['phase']}", *_cells(phase, one_memory))
    return table


def _cells(phase: dict[str, Any], one_memory: bool) -> list[Any]:
    model = phase["weights"] + phase["kept"] + phase["adapter"]
    working = phase["inputs"] + phase["temporaries"] + phase["outputs"]
    values = [gib(value) if value else "" for value in (model, phase["optimizer"], phase["cache"], working)]
    values += [gib(phase["host"])] if one_memory else []
    total = Text(gib(phase["peak"]), style="" if phase["fits"] else "bold red")
    return [str(phase["rows"] or ""), *values, total, "" if phase["fits"] else Text("too large", style="bold red")]


def _hosts(document: dict[str, Any]) -> Table:
    table = plain_table(f"host, of {gib(document['host_bytes'])} GiB")
    for name in ("reading", "working"):
        table.add_column(name, justify="right", no_wrap=True)
    for stage in document["stages"]:
        cells = [Text(gib(each["peak"]), style="" if each["fits"] else "bold red") for each in stage["host"]]
        table.add_row(", ".join(stage["names"]), *cells)
    return table


def _compared(document: dict[str, Any]) -> Table:
    """Show what sessions of this home measured beside what is planned; GiB."""
    table = plain_table("measured here")
    for name in ("planned", "measured", "error", "expected"):
        table.add_column(name, justify="right", no_wrap=True)
    for stage in document["stages"]:
        for name, budget in stage["memory"].items():
            where = "" if document["one_memory"] else f" ({'a chip' if name == 'device' else 'host'})"
            known = budget["measured"] is not None
            ratio = budget["corrected_by"]
            expected = gib(budget["expected"]) + (f" (plan ÷ {ratio:.2f})" if ratio and not known else "")
            table.add_row(
                ", ".join(stage["names"]) + where,
                gib(budget["planned"]),
                gib(budget["measured"]) if known else "not yet",
                f"{budget['error']:+.0%}" if known else "",
                expected,
            )
    return table


def _checkpoints(document: dict[str, Any]) -> Table:
    table = plain_table("checkpoint of")
    table.add_column("GiB", justify="right", no_wrap=True)
    table.add_column(f"of {gib(document['output_bytes_max'])} GiB of output")
    for size, names in _alike(document["checkpoints"]):
        share = f"{100 * size / document['output_bytes_max']:.0f} %"
        too_large = size > document["output_bytes_max"]
        table.add_row(", ".join(names), gib(size), Text(share, style="bold red" if too_large else ""))
    return table


def _alike(checkpoints: list[dict[str, Any]]) -> list[tuple[int, list[str]]]:
    """Group adjacent checkpoints of equal size."""
    found: list[tuple[int, list[str]]] = []
    for each in checkpoints:
        if found and found[-1][0] == each["bytes"]:
            found[-1][1].append(each["stage"])
        else:
            found.append((each["bytes"], [each["stage"]]))
    return found


def advice(document: dict[str, Any]) -> list[str]:
    """Return a sentence for everything that does not fit, or one that says that everything fits."""
    lines = [
        f"{', '.join(stage['names'])}: does not fit; {stage['advice']}."
        for stage in document["stages"]
        if not stage["fits"]
    ]
    seen: set[str] = set()
    for each in document["checkpoints"]:
        if each["advice"] and each["advice"] not in seen:
            seen.add(each["advice"])
            verdict = "" if each["fits"] else " is larger than what Kaggle keeps of a session"
            lines.append(f"{each['stage']}: a checkpoint of {gib(each['bytes'])} GiB{verdict}; {each['advice']}.")
    return lines if not document["fits"] else ["Everything fits.", *lines]


def gib(size_bytes: int) -> str:
    """Format bytes as GiB, with two decimals below 1 and one above."""
    value = size_bytes / GIB
    return f"{value:.2f}" if value < 1 else f"{value:.1f}"
