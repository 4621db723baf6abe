"""Checks of what sessions mount: that each model and dataset exists and that this account may read it."""

from collections.abc import Iterator

from orchestrator.base.errors import BadInput, Refused
from orchestrator.kaggle.gateway import Access, Gateway, SourceSeen
from orchestrator.preflight.check.findings import CheckSubject, Finding, ok, problem
from orchestrator.views.format import size

KAGGLE = "https://www.kaggle.com"


def models(subject: CheckSubject, gateway: Gateway) -> Iterator[Finding]:
    """Check every model that is mounted, up to the URL of one of its files."""
    for ref in subject.pipeline.model_sources:
        yield _model(ref, gateway)


def _model(ref: str, gateway: Gateway) -> Finding:
    link = f"{KAGGLE}/models/{'/'.join(ref.split('/')[:2])}"
    try:
        seen = gateway.see_model(ref)
    except BadInput as error:
        said, _, remedy = str(error).partition(": ")
        return problem("model", said, remedy)
    match seen.access:
        case Access.READABLE:
            return _readable("model", seen, link)
        case Access.DENIED:
            return problem(
                "model",
                f"Kaggle does not let this account read the model {ref}: its licence has not been accepted, it is private, or there is none",
                "open its page, signed in to that account, and accept the licence",
                link,
            )
        case Access.ABSENT:
            return problem(
                "model",
                f"Kaggle has no model {ref}",
                "write the name as on its page: owner/model/framework/variation/version",
                link,
            )


def datasets(subject: CheckSubject, gateway: Gateway) -> Iterator[Finding]:
    """Check every dataset that is mounted."""
    for ref in subject.pipeline.dataset_sources:
        yield _dataset(ref, gateway)


def _dataset(ref: str, gateway: Gateway) -> Finding:
    parts = ref.split("/")
    if len(parts) not in (2, 3) or not all(parts):
        return problem("dataset", f"{ref!r} under inputs.datasets is no dataset", "write owner/slug")
    name = "/".join(parts[:2])
    link = f"{KAGGLE}/datasets/{name}"
    try:
        seen = gateway.see_dataset(name)
    except Refused as error:
        return problem("dataset", f"Kaggle refuses to describe the dataset {name} ({error})", "look at its page", link)
    if seen.access is Access.READABLE:
        return _readable("dataset", seen, link)
    hidden = "" if seen.access is Access.ABSENT else " that this account may see: there is none, or it is private"
    return problem(
        "dataset",
        f"Kaggle has no dataset {name}{hidden}",
        "correct the name, or have the dataset shared with the account",
        link,
    )


def _readable(what: str, seen: SourceSeen, link: str) -> Finding:
    how_large = f", {size(seen.size_bytes)}" if seen.size_bytes else ""
    return ok(what, f"this account can read the {what} {seen.ref}{how_large}", link)
