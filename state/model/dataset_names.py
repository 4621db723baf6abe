"""Slugs of the datasets that relay uploads. A further upload of the same content gets a copy number."""

import re

COPIES_MAX = 2
"""Number of names under which relay uploads a dataset unasked. Each further name needs `relay resume` by the user."""


def place_of(name: str, copy: int) -> str:
    """Return the slug of the copy-th dataset (1 is the first) of `name`: Kaggle may keep a used slug reserved."""
    return name if copy == 1 else f"{name}-n{copy}"


def name_in(place: str) -> str:
    """Return the base name of a dataset's slug, without the copy number."""
    return re.sub(r"-n[0-9]+$", "", place)


def copy_in(name: str, place: str) -> int:
    """Return the copy number (1 is the first) of the dataset `place` of `name`."""
    return 1 if place == name else int(place.removeprefix(f"{name}-n"))


def places_until(name: str, place: str) -> tuple[str, ...]:
    """Return the slugs of all copies of `name` up to and including `place`."""
    return tuple(place_of(name, copy) for copy in range(1, copy_in(name, place) + 1))
