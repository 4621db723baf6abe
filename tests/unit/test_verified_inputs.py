"""What the sessions of `relay verify` find mounted."""

from pathlib import Path

from orchestrator.pipeline import loader
from orchestrator.rehearsal.verify.inputs import mounted
from stages.data.mounted import Brought, Origin, mounted_folders, not_mounted

PIPELINE = """
name: own
inputs: {datasets: [me/gsm8k-mine, me/gsm8k-other/4]}
stages: [{name: one, kind: counting, steps: 1}]
"""


def test_a_dataset_that_the_pipeline_lists_is_there_and_marked_as_made_up(tmp_path: Path) -> None:
    """No machine but Kaggle has what is in it, and a session would wait for a dataset that is not mounted."""
    path = tmp_path / "own.yaml"
    path.write_text(PIPELINE, encoding="utf-8")
    pipeline = loader.load(path)
    for mount in mounted(pipeline, path, tmp_path / "made"):
        for name in mount.files:
            file = tmp_path / "input" / mount.place / name
            file.parent.mkdir(parents=True)
            file.touch()
    brought = Brought({}, pipeline.inputs.datasets)
    folders = mounted_folders(tmp_path / "input", brought)
    assert not_mounted(brought, folders) == []
    assert {folder.origin for folder in folders} == {Origin.STAND_IN}
