"""Build and check the files of a release in dist/. Nothing is tagged and nothing is uploaded.

    make release
    make release IGNORE="GHSA-xxxx-xxxx-xxxx"    # advisories that were read and do not concern relay

The files are built twice, from two exports of the last commit, and must be equal byte for byte. The wheel is installed
into an empty environment, together with the packages that constraints.txt pins, and must answer there. dist/ then holds
the wheel, the source archive, a CycloneDX list of what was installed, and SHA256SUMS.
"""

import argparse
import filecmp
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PROBE = "requests==2.20.0"
"""A release with published advisories. A source that knows none for it has no advisories at all, such as a mirror of
the packages alone, for which pip-audit reports "No known vulnerabilities found"."""
UNASKED = (
    "No source of advisories answered pip-audit, so nobody knows whether the packages have known vulnerabilities: "
    "run make release again with access to pypi.org before you publish."
)


class Refused(Exception):
    """The tree cannot be released; the message says what to do."""


def run(*command: str | Path, cwd: Path = ROOT, environ: Mapping[str, str] | None = None) -> str:
    """Standard output of a command that must succeed."""
    done = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stdout + done.stderr).strip()
        raise Refused(f"`{' '.join(map(str, command))}` ended with exit status {done.returncode}:\n{said}")
    return done.stdout


def changelog_problem(text: str, version: str) -> str | None:
    """Return what the changelog lacks for a release of this version, or None."""
    sections = {match[1]: match[2] for match in re.finditer(r"^## (.+)\n((?:(?!## ).*\n?)*)", text, re.MULTILINE)}
    dated = [title for title in sections if re.fullmatch(rf"\[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d", title)]
    if not dated:
        return f"CHANGELOG.md has no section `## [{version}] - YYYY-MM-DD`: rename [Unreleased] and begin a new one"
    if not re.search(r"^[*-] \S", sections[dated[0]], re.MULTILINE):
        return f"the section [{version}] of CHANGELOG.md is empty: say what users notice"
    if re.search(r"^[*-] \S", sections.get("[Unreleased]", ""), re.MULTILINE):
        return f"CHANGELOG.md has entries under [Unreleased]: move them to [{version}]"
    return None


def checked_version(root: Path) -> str:
    """Version of a tree that is committed, described in the changelog, and not tagged yet."""
    version = str(tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])
    if changed := run("git", "status", "--porcelain", cwd=root):
        raise Refused(f"the tree has changes that are not committed: commit or remove them\n{changed.rstrip()}")
    if run("git", "tag", "--list", f"v{version}", cwd=root):
        raise Refused(f"the tag v{version} exists: raise `version` in pyproject.toml")
    if problem := changelog_problem((root / "CHANGELOG.md").read_text(encoding="utf-8"), version):
        raise Refused(problem)
    return version


def built(root: Path, folder: Path, umask: int) -> list[Path]:
    """Wheel and source archive of the last commit, built in `folder` from an export that has nothing else."""
    source, out = folder / "source", folder / "dist"
    source.mkdir(parents=True)
    run("git", "archive", "--output", folder / "source.tar", "HEAD", cwd=root)
    environ = {**os.environ, "SOURCE_DATE_EPOCH": run("git", "log", "-1", "--format=%ct", cwd=root).strip()}
    before = os.umask(umask)
    try:
        with tarfile.open(folder / "source.tar") as archive:
            archive.extractall(source, filter="data")
        run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, source, cwd=folder, environ=environ)
    finally:
        os.umask(before)
    return sorted(out.iterdir())


def built_twice(root: Path, folder: Path) -> list[Path]:
    """Files of two builds that differ in nothing, although folder, permissions and time do."""
    first, second = built(root, folder / "a", 0o022), built(root, folder / "another", 0o077)
    require_equal(first, second)
    return first


def require_equal(first: Sequence[Path], second: Sequence[Path]) -> None:
    """Raise Refused unless both builds have files of the same names and bytes."""
    for one, other in zip(first, second, strict=True):
        if one.name != other.name or not filecmp.cmp(one, other, shallow=False):
            raise Refused(f"two builds of {one.name} differ: find what varies, for example with diffoscope")


def try_wheel(python: Path, version: str, folder: Path) -> None:
    """Let the installed wheel say its version, write a pipeline, check it, and report that there is no run."""
    relay = python.with_name("relay")
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "LANG": "C.UTF-8"}
    said = run(relay, "--version", cwd=folder, environ=environ).strip()
    if said != f"relay, version {version}":
        raise Refused(f"the installed wheel answers `relay --version` with {said!r}, and not with {version}")
    for arguments in (["init", "pipeline.yaml", "--yes"], ["explain", "grpo"], ["status"]):
        run(relay, "--home", folder / "home", *arguments, cwd=folder, environ=environ)


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def unpinned(installed: Iterable[str], constraints: str) -> list[str]:
    """Installed packages, as `name==version`, that the constraints do not pin to this version."""
    pinned = {normalized(line) for line in constraints.split() if "==" in line}
    return [package for package in installed if normalized(package) not in pinned]


def pip_audit(requirements: Sequence[str], folder: Path, ignored: Sequence[str] = ()) -> dict[str, Any] | None:
    """Return what pip-audit found about these packages, or None where its source did not answer."""
    wanted, report = folder / "requirements.txt", folder / "audit.json"
    wanted.write_text("\n".join(requirements), encoding="utf-8")
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--no-deps", "--progress-spinner", "off"]
    command += ["--requirement", str(wanted), "--format", "json", "--output", str(report)]
    command += [part for advisory in ignored for part in ("--ignore-vuln", advisory)]
    subprocess.run(command, capture_output=True, text=True, check=False)  # 1: vulnerabilities or no answer
    return dict(json.loads(report.read_text(encoding="utf-8"))) if report.exists() else None


def knows_advisories(probe: dict[str, Any] | None) -> bool:
    """Return whether the source that was asked for `PROBE` named an advisory."""
    return probe is not None and any(package.get("vulns") for package in probe["dependencies"])


def audit_verdict(probe: dict[str, Any] | None, report: dict[str, Any] | None) -> str:
    """Return a sentence on what pip-audit found. Refused where a package has a known vulnerability."""
    if not knows_advisories(probe) or report is None:
        return UNASKED
    packages = report["dependencies"]
    found = [
        f"{package['name']} {package['version']}: {vulnerability['id']}, "
        f"fixed in {', '.join(vulnerability['fix_versions']) or 'no version'}"
        for package in packages
        for vulnerability in package.get("vulns", ())
    ]
    if found:
        raise Refused(
            "pip-audit knows of vulnerabilities: raise the versions in constraints.txt, "
            'or name those that do not concern relay in make release IGNORE="ID ID"\n' + "\n".join(found)
        )
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    sentence = f"pip-audit knows of no vulnerability in {len(packages) - len(skipped)} packages."
    return sentence + (f" It could not look up {len(skipped)}: {', '.join(skipped)}." if skipped else "")


def checksums(files: Iterable[Path]) -> str:
    """Lines that `sha256sum --check` reads."""
    return "".join(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in sorted(files))


def check_wheel(wheel: Path, version: str, folder: Path, dist: Path, ignored: Sequence[str]) -> None:
    """Install the wheel, first alone and then with what training needs; write the list of packages and audit it."""
    print("Installing the wheel into an empty environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder / "venv")
    python = folder / "venv" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--quiet", "--disable-pip-version-check"]
    constraints = ROOT / "constraints.txt"
    run(*pip, "install", "--constraint", constraints, wheel)
    try_wheel(python, version, folder)
    print("Installing what training needs, and listing the packages")
    run(*pip, "install", "--constraint", constraints, f"{wheel}[train]")
    installed = run(*pip, "freeze", "--exclude", "relay-kaggle").split()
    if missing := unpinned(installed, constraints.read_text(encoding="utf-8")):
        raise Refused(f"constraints.txt does not pin {', '.join(missing)}: add them")
    sbom = dist / f"relay_kaggle-{version}.cdx.json"
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible", "--output-format", "JSON"]
    run(*command, "--pyproject", ROOT / "pyproject.toml", "--output-file", sbom, python)
    probe = pip_audit([PROBE], folder)
    print(audit_verdict(probe, pip_audit(installed, folder, ignored) if knows_advisories(probe) else None))


def release(ignored: Sequence[str]) -> None:
    version = checked_version(ROOT)
    dist = ROOT / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="relay-release-") as name:
        folder = Path(name)
        print(f"Building relay {version} twice")
        files = built_twice(ROOT, folder)
        run(sys.executable, "-m", "twine", "check", "--strict", *files)
        dist.mkdir()
        for file in files:
            shutil.copy(file, dist)
        (wheel,) = dist.glob("*.whl")
        check_wheel(wheel, version, folder, dist, ignored)
    sums = checksums(dist.iterdir())
    (dist / "SHA256SUMS").write_text(sums, encoding="utf-8")
    print(f"\n{sums}\nNothing was tagged or uploaded. Next, by hand:")
    print(f"  git tag --sign v{version} --message 'relay {version}' && git push origin v{version}")
    print("  .venv-release/bin/twine upload dist/*.whl dist/*.tar.gz")
    print("  attach all files of dist/ to the release notes")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--ignore-vuln", nargs="*", default=[], metavar="ID", help="Advisories that were read.")
    try:
        release(parser.parse_args().ignore_vuln)
    except Refused as refusal:
        sys.exit(f"release: {refusal}")


if __name__ == "__main__":
    main()
