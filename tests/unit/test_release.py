"""`make release` refuses what is not ready, and never says more of vulnerabilities than it was told."""

import hashlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / ".ci" / "release.py"


def loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("release", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


release = loaded()

HEAD = "# Changelog\n\n"
READY = "## [Unreleased]\n\n## [1.2.0] - 2026-11-29\n\n### Added\n\n* A thing.\n\n## [1.1.0] - 2026-01-01\n\n* Old.\n"


@pytest.mark.parametrize(
    "changelog, problem",
    [
        (READY, None),
        (READY.removeprefix("## [Unreleased]\n\n"), None),
        (READY.replace("* A", "- A"), None),
        (READY.replace("1.2.0", "1.2.1"), "has no section"),
        (READY.replace("1.2.0", "1x2.0"), "has no section"),
        (READY.replace(" - 2026-11-29", ""), "has no section"),
        ("## [Unreleased]\n\n* A thing.\n", "has no section"),
        (READY.replace("* A thing.\n", ""), "is empty"),
        (READY.replace("[Unreleased]\n", "[Unreleased]\n\n### Fixed\n\n* Forgotten.\n"), "entries under [Unreleased]"),
    ],
)
def test_a_version_is_released_only_if_the_changelog_describes_it(changelog: str, problem: str | None) -> None:
    said = release.changelog_problem(HEAD + changelog, "1.2.0")
    assert (said is None) if problem is None else (said is not None and problem in said)


def package(name: str, *advisories: str, fixed: tuple[str, ...] = ()) -> dict[str, Any]:
    """As pip-audit writes one that it looked up."""
    return {
        "name": name,
        "version": "1.0",
        "vulns": [{"id": advisory, "fix_versions": list(fixed), "aliases": []} for advisory in advisories],
    }


def skipped(name: str) -> dict[str, Any]:
    """As pip-audit writes one that its source does not have, which it counts as free of vulnerabilities."""
    return {"name": name, "skip_reason": f"Dependency not found on PyPI and could not be audited: {name} (1.0)"}


def report(*packages: dict[str, Any]) -> dict[str, Any]:
    return {"dependencies": list(packages), "fixes": []}


ANSWERED = report(package("requests", "GHSA-1"))


@pytest.mark.parametrize(
    "probe, answer",
    [
        (None, None),
        (None, report(package("a"))),
        (report(skipped("requests")), report(skipped("a"))),  # a mirror without advisories
        (report(package("requests")), report(package("a"))),  # one that answers, and knows of nothing at all
        (ANSWERED, None),  # it stopped answering
    ],
)
def test_without_a_source_of_advisories_no_package_is_called_sound(probe: Any, answer: Any) -> None:
    said = release.audit_verdict(probe, answer)
    assert said.startswith("No source of advisories answered")
    assert "\n" not in said


def test_packages_without_advisories_are_counted_and_those_that_were_not_looked_up_are_named() -> None:
    assert release.audit_verdict(ANSWERED, report(package("a"), package("b"))) == (
        "pip-audit knows of no vulnerability in 2 packages."
    )
    assert release.audit_verdict(ANSWERED, report(package("a"), skipped("mine"))) == (
        "pip-audit knows of no vulnerability in 1 packages. It could not look up 1: mine."
    )


def test_a_known_vulnerability_stops_a_release_and_is_named_with_its_remedy() -> None:
    with pytest.raises(release.Refused) as refused:
        release.audit_verdict(
            ANSWERED, report(package("a"), package("b", "GHSA-2", fixed=("1.1", "2.0")), package("c", "X"))
        )
    assert "b 1.0: GHSA-2, fixed in 1.1, 2.0\nc 1.0: X, fixed in no version" in str(refused.value)
    assert "make release IGNORE=" in str(refused.value)


def test_every_package_that_is_installed_has_to_be_pinned_to_its_version() -> None:
    constraints = "# Versions\nPyYAML==6.0.3\njaraco.classes==3.4.0\nsix>=1\n"
    assert release.unpinned(["pyyaml==6.0.3", "jaraco-classes==3.4.0"], constraints) == []
    assert release.unpinned(["PyYAML==6.0.2", "six==1.0", "new==1"], constraints) == [
        "PyYAML==6.0.2",
        "six==1.0",
        "new==1",
    ]


def test_the_checksums_are_those_of_the_bytes_in_the_form_that_sha256sum_reads(tmp_path: Path) -> None:
    (tmp_path / "b.whl").write_bytes(b"two")
    (tmp_path / "a.tar.gz").write_bytes(b"one")
    one, two = (hashlib.sha256(content).hexdigest() for content in (b"one", b"two"))
    assert release.checksums(tmp_path.iterdir()) == f"{one}  a.tar.gz\n{two}  b.whl\n"


def test_a_command_that_fails_stops_a_release_with_what_it_said() -> None:
    with pytest.raises(release.Refused, match=r"exit status 3:\nno good"):
        release.run(sys.executable, "-c", "print('no good'); raise SystemExit(3)")


def test_builds_that_differ_in_one_byte_are_refused(tmp_path: Path) -> None:
    files = [tmp_path / name / "relay.whl" for name in ("one", "same", "other")]
    for file, content in zip(files, (b"abc", b"abc", b"abd"), strict=True):
        file.parent.mkdir()
        file.write_bytes(content)
    release.require_equal([files[0]], [files[1]])
    with pytest.raises(release.Refused, match=r"two builds of relay\.whl differ"):
        release.require_equal([files[0]], [files[2]])
