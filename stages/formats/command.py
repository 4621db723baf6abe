"""Exports an unpacked checkpoint in a process of its own: reads the request from standard input, prints the result.

The answer is the last line, in JSON: the manifest of the export, or the cause and the reason why there is none.
"""

import json
import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.contract import Cursor, StageSpec
from stages.documents import Document
from stages.formats.card import ExportOrigin
from stages.formats.exporting import Exporter
from stages.formats.named_base import find_base
from stages.options import Export, Model, fit
from stages.stage import StageFailed
from stages.training import model_files
from stages.training.model_files import ModelFiles


@dataclass(frozen=True, kw_only=True)
class ExportRequest(Document):
    """Order of an export. `base` is the folder of the base model's files, if the model's own source is not used.

    Else the files are looked for below `inputs`; those of Hugging Face are downloaded to `scratch`.
    """

    directory: str
    target: str
    options: dict[str, Any]
    model: dict[str, Any]
    run: str
    cursor: Cursor
    stages: tuple[StageSpec, ...]
    checkpoint: str
    contents: dict[str, str]
    inputs: str
    scratch: str
    base: str = ""
    made_up: bool = False
    """True if a stand-in took the place of the base model in the run."""
    made_up_sets: tuple[str, ...] = ()
    """Data sets of which the run had only stand-ins."""


def main() -> int:
    """Carry out the request; returns the exit status."""
    logging.getLogger("absl").setLevel(logging.ERROR)
    try:
        manifest = _export(ExportRequest.from_dict(json.loads(sys.stdin.read())))
    except StageFailed as error:
        print(json.dumps({"cause": error.cause, "reason": error.reason, "transient": error.transient}))
        return 1
    print(manifest.to_json())
    return 0


def _export(request: ExportRequest) -> Any:
    model = fit(Model, request.model, "model")
    origin = ExportOrigin(
        request.run,
        request.cursor,
        request.stages,
        request.checkpoint,
        request.contents,
        made_up=request.made_up,
        made_up_sets=request.made_up_sets,
    )

    def find_files() -> ModelFiles:
        if request.base:
            return find_base(model, Path(request.base))
        return model_files.find(model, Path(request.inputs), Path(request.scratch))

    exporter = Exporter(Path(request.directory), model, origin, find_files)
    return exporter.export(fit(Export, request.options, "export"), Path(request.target))


if __name__ == "__main__":
    sys.exit(main())
