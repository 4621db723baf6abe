"""Where a run's sessions and checkpoints are: the platform, and the keys of its section by which it is reached. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.pipeline.model import Pipeline

REACHED_BY: Mapping[str, tuple[str, ...]] = {"kaggle": (), "slurm": ("login", "shared")}
"""Keys of a platform's own section (it has the platform's name) by which its files are reached, by platform."""
ACCOUNTS = {"kaggle": "the Kaggle account", "slurm": "the cluster"}
"""Words before an account's name, by platform."""


@dataclass(frozen=True)
class Site:
    """A platform as a run reaches it. Two runs with equal sites, of the same account, see the same datasets."""

    platform: str
    keys: Mapping[str, Any]

    @classmethod
    def of(cls, pipeline: Pipeline) -> "Site":
        """Return where the pipeline's sessions run."""
        section = getattr(pipeline, pipeline.platform, None)
        return cls(pipeline.platform, {name: getattr(section, name) for name in REACHED_BY[pipeline.platform]})

    @classmethod
    def parse(cls, text: str) -> "Site":
        """Parse the text that `canonical` returned."""
        value = json.loads(text)
        return cls(value.pop("platform"), value)

    def canonical(self) -> str:
        """Return canonical JSON: equal sites give equal text."""
        return json.dumps({"platform": self.platform, **self.keys}, sort_keys=True, separators=(",", ":"))

    @property
    def path(self) -> str:
        """Folder of the platform's files, in which no two sites of one account are the same; empty on Kaggle."""
        return str(self.keys.get("shared", ""))


def differ(first: Site, owner: str, second: Site, other: str) -> bool:
    """Return True if what is published at the first site, for `owner`, is not seen at the second one, for `other`.

    Another way to the same folder of the same account, such as another login node, is the same site.
    """
    return (first.platform, owner, first.path) != (second.platform, other, second.path)


def account_text(site: Site, owner: str) -> str:
    """Return words for an account on a platform, such as `the Kaggle account alice`."""
    return f"{ACCOUNTS[site.platform]} {owner}"
