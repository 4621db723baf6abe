"""Checks that a session can carry out its order."""

import re

from stages import catalog
from stages.contract import Order
from stages.stage import StageFailed

STAGE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
"""Allowed stage names: a stage's name becomes part of a folder's name."""


def check_order(order: Order) -> None:
    """Raise StageFailed for an order that no session can carry out."""
    names = [spec.name for spec in order.stages]
    if len(set(names)) < len(names) or not all(STAGE_NAME.fullmatch(name) for name in names):
        raise StageFailed("order-inconsistent", f"stages need names of their own, of letters, digits, - and _: {names}")
    if order.parent is None and order.start.step > 0:
        raise StageFailed(
            "order-inconsistent",
            f"the order starts at {order.start.stage} {order.start.step} without a parent checkpoint",
        )
    if order.accelerator.processes is not None:
        for spec in order.stages:
            if spec.kind not in catalog.KINDS or not catalog.KINDS[spec.kind].several:
                raise StageFailed(
                    "order-inconsistent",
                    f"stage {spec.name} is {spec.kind}, which {order.accelerator.processes} processes cannot run together",
                )
    for cursor in (order.stop_at, *order.save_at):
        if cursor is not None and cursor.stage not in names:
            raise StageFailed(
                "order-inconsistent", f"the order stops or saves in stage {cursor.stage!r}, which it does not have"
            )
    for spec in order.stages:
        try:
            catalog.find(spec.kind).fit(spec.options, f"stage {spec.name}")
        except ValueError as error:
            raise StageFailed("order-inconsistent", str(error)) from error
