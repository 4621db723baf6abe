"""The files of a release depend on its commit alone, and a tree that is not ready is refused."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.test_release import SCRIPT, release

ROOT = Path(__file__).parents[2]
BUILD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import release
root, out = map(Path, sys.argv[2:])
print(*(file.name for file in release.built_twice(root, out)), sep="\\n")
"""


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.org"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """This repository, whose last commit releases the version of pyproject.toml."""
    place = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(ROOT), str(place))
    (place / "pyproject.toml").write_text('[project]\nname = "relay-kaggle"\nversion = "7.1.0"\n')
    (place / "CHANGELOG.md").write_text("# Changelog\n\n## [Unreleased]\n\n## [7.1.0] - 2026-11-29\n\n* A thing.\n")
    git(place, "commit", "--quiet", "--all", "--message", "Release 7.1.0")
    return place


def test_a_committed_tree_with_its_changelog_has_the_version_of_its_metadata(clone: Path) -> None:
    assert release.checked_version(clone) == "7.1.0"


def test_a_tree_with_changes_is_refused(clone: Path) -> None:
    (clone / "new.txt").write_text("not committed")
    with pytest.raises(release.Refused, match=r"not committed: commit or remove them\n\?\? new\.txt"):
        release.checked_version(clone)


def test_a_version_that_was_tagged_is_refused(clone: Path) -> None:
    git(clone, "tag", "v7.1.0")
    with pytest.raises(release.Refused, match=r"the tag v7\.1\.0 exists: raise `version`"):
        release.checked_version(clone)


@pytest.mark.slow
def test_two_builds_of_one_commit_are_equal_byte_for_byte(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True, capture_output=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    constraints = ["--constraint", str(ROOT / "constraints.txt")]
    subprocess.run([*pip, *constraints, "build", "hatchling"], check=True, capture_output=True)
    command = [python, "-c", BUILD, str(SCRIPT.parent), str(ROOT), str(tmp_path / "built")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    wheel, archive = done.stdout.split()
    assert wheel.endswith("-py3-none-any.whl") and archive.endswith(".tar.gz")
