"""Place of a run's sessions and checkpoints: the platform, and the keys of its section by which it is reached. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from orchestrator.pipeline.model import Pipeline

REACHED_BY: Mapping[str, tuple[str, ...]] = {"kaggle": (), "slurm": ("login", "shared"), "ssh": ("host", "folder")}
"""Keys of a platform's own section, which has the platform's name, by which its files are reached; the last one names the
folder with them."""
ACCOUNTS = {"kaggle": "the Kaggle account", "slurm": "the Slurm account", "ssh": "the machine"}
"""Words before an account's name, by platform."""


@dataclass(frozen=True)
class Site:
    """A platform as a run reaches it."""

    platform: str
    keys: Mapping[str, Any]

    @classmethod
    def of(cls, pipeline: Pipeline) -> Self:
        """Return where the pipeline's sessions run."""
        section = getattr(pipeline, pipeline.platform, None)
        return cls(pipeline.platform, {name: getattr(section, name) for name in REACHED_BY[pipeline.platform]})

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse the text that `canonical` returned."""
        value = json.loads(text)
        return cls(value.pop("platform"), value)

    def canonical(self) -> str:
        """Return canonical JSON: equal sites give equal text."""
        return json.dumps({"platform": self.platform, **self.keys}, sort_keys=True, separators=(",", ":"))

    @property
    def path(self) -> str:
        """Folder of the platform's files; empty on Kaggle."""
        names = REACHED_BY[self.platform]
        return str(self.keys[names[-1]]) if names else ""

    @property
    def pipeline(self) -> Pipeline:
        """A pipeline with the platform alone, to reach its files with; it has no stages."""
        values: dict[str, Any] = {"platform": self.platform}
        if self.keys:
            section = Pipeline.model_fields[self.platform].annotation
            assert section is not None, "each section has a type"
            values[self.platform] = section(**self.keys)
        return Pipeline.model_construct(None, **values)


def differ(first: Site, owner: str, second: Site, other: str) -> bool:
    """Return True if what is published at the first site, for `owner`, is not seen at the second one, for `other`.

    Another way to the same folder of the same account, such as another login node, is the same site.
    """
    return (first.platform, owner, first.path) != (second.platform, other, second.path)


def account_text(site: Site, owner: str) -> str:
    """Return words for an account on a platform, such as `the Kaggle account alice`."""
    return f"{ACCOUNTS[site.platform]} {owner}"
