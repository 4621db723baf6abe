"""The one script that Kaggle runs: built byte for byte the same, found again by its order, and able to run on its own."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import stages
from kaggle_kernels import build
from stages.contract import Cursor, Order, StageSpec
from stages.documents import NewerFormat
from tests.unit.counting_runs import ROOT, Kaggle, counting, events, kaggle, next_order, order

SOURCES = Path(stages.__path__[0])


@pytest.fixture
def world(tmp_path: Path) -> Kaggle:
    return kaggle(tmp_path / "kaggle")


def run_script(
    source: str, world: Kaggle, *, options: str = "-IS", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a kernel as Kaggle does, in a folder shaped like `/kaggle`, by a Python that has nothing of ours."""
    script = world.root / "src" / "script.py"
    script.parent.mkdir(exist_ok=True)
    script.write_text(source)
    return subprocess.run(
        [sys.executable, options, str(script)],
        cwd=world.working,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TMPDIR": str(world.root / "tmp"), **environment},
    )


# --- running ---


@pytest.mark.slow
def test_the_script_runs_alone_on_a_bare_python(world: Kaggle) -> None:
    done = run_script(build.script(order()), world)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    report = world.report()
    assert (report.outcome, report.reached) == ("finished", Cursor(stage="first", step=6))
    assert events(done.stdout)[-1]["event"] == "finished"


@pytest.mark.slow
def test_a_session_in_the_script_resumes_from_another_one(world: Kaggle, tmp_path: Path) -> None:
    first = order(stages=(counting("first", 500, step_s=0.05), counting("second", 3)), budget_s=6.0)
    assert run_script(build.script(first), world).returncode == 0
    report = world.report()
    assert report.outcome == "yielded"
    following = kaggle(tmp_path / "following")
    following.publish(world.folders()[-1], "datasets/alice/c0001")
    faster = replace(first, stages=(counting("first", 500), counting("second", 3)), budget_s=60.0)
    assert run_script(build.script(next_order(faster, report)), following).returncode == 0
    (_, whole) = kaggle(tmp_path / "whole").run(faster)
    last = following.report()
    assert last.outcome == whole.outcome == "finished"
    assert last.checkpoint is not None and whole.checkpoint is not None
    assert last.checkpoint.digests == whole.checkpoint.digests


@pytest.mark.slow
def test_nothing_but_the_output_is_left_behind(world: Kaggle) -> None:
    run_script(build.script(order()), world)
    assert sorted(path.name for path in world.root.iterdir()) == ["input", "src", "tmp", "working"]
    assert list((world.root / "tmp").iterdir()) == []
    assert [path.name for path in world.working.iterdir()] == ["relay"]


@pytest.mark.slow
def test_the_kernel_uses_the_sources_it_carries_and_no_others(world: Kaggle, tmp_path: Path) -> None:
    """Another `stages` is on the path of the Python that runs it, as an installed relay would be."""
    elsewhere = tmp_path / "installed"
    (elsewhere / "stages").mkdir(parents=True)
    (elsewhere / "stages" / "__init__.py").write_text("raise ImportError('the installed one was used')")
    (elsewhere / "sitecustomize.py").write_text("")
    done = run_script(build.script(order()), world, options="-S", PYTHONPATH=str(elsewhere))
    assert done.returncode == 0, done.stderr
    assert world.report().outcome == "finished"


@pytest.mark.slow
def test_a_finder_that_puts_another_package_first_is_noticed(world: Kaggle, tmp_path: Path) -> None:
    """An editable installation may come with a finder that is asked before the path is searched."""
    elsewhere = tmp_path / "installed"
    shutil.copytree(SOURCES, elsewhere / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    (elsewhere / "sitecustomize.py").write_text(
        "import importlib.machinery, sys\n"
        "class First:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        where = [{str(elsewhere)!r}] if name == 'stages' else path\n"
        "        return importlib.machinery.PathFinder.find_spec(name, where) if name.startswith('stages') else None\n"
        "sys.meta_path.insert(0, First())\n"
    )
    done = run_script(build.script(order()), world, options="-s", PYTHONPATH=str(elsewhere))
    assert done.returncode == 1
    report = world.report()
    assert (report.outcome, report.cause, report.token) == ("failed", "foreign-sources", order().token)
    assert "another package called stages is in the way" in report.reason


@pytest.mark.slow
def test_a_failed_session_is_a_failed_kernel(world: Kaggle) -> None:
    broken = replace(order(), start=Cursor(stage="nowhere", step=0))
    assert run_script(build.script(broken), world).returncode == 1
    assert world.report().cause == "order-inconsistent"


def test_sources_that_were_changed_on_their_way_are_not_run(world: Kaggle) -> None:
    source = build.script(order())
    middle = source.index('BUNDLE = """') + 2_000
    other = "A" if source[middle] != "A" else "B"
    done = run_script(source[:middle] + other + source[middle + 1 :], world)
    assert done.returncode == 1
    report = world.report()
    assert (report.outcome, report.cause, report.session) == ("failed", "kernel-damaged", 1)


def test_a_python_that_is_too_old_is_told_so_in_a_sentence(world: Kaggle) -> None:
    source = build.script(order()).replace("sys.version_info < (3, 11)", "sys.version_info < (9, 0)")
    done = run_script(source, world)
    assert done.returncode == 1
    assert "relay needs Python 3.11 or newer, and this kernel runs on 3." in done.stderr
    assert "Traceback" not in done.stderr
    assert world.report().cause == "python-too-old"


@pytest.mark.slow
def test_a_letter_that_the_log_cannot_hold_does_not_end_the_session_without_a_report(world: Kaggle) -> None:
    unknown = StageSpec(name="first", kind="tr\u00e4umen", steps=1)
    done = run_script(build.script(order(stages=(unknown,))), world, options="-sS", PYTHONIOENCODING="ascii")
    assert "tr\\xe4umen" in done.stdout
    assert world.report().cause == "order-inconsistent"


# --- building ---


def test_the_script_opens_with_what_it_is_for() -> None:
    head = build.script(order(session=7, attempt=2)).splitlines()[:5]
    assert head[0] == '# relay: "count-1a2b, session 7, attempt 2"'
    assert all(line.startswith("#") for line in head[:4])
    assert head[4].startswith('"""')


def test_the_order_can_be_read_in_the_script() -> None:
    text = build.script(order())
    assert order().to_json() in text
    assert '"token":"0123abcd"' in text


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


@pytest.mark.slow
@settings(deadline=None, max_examples=50)
@given(run=TEXTS, token=TEXTS, model=st.dictionaries(TEXTS, TEXTS, max_size=2))
def test_the_order_comes_back_from_the_script(run: str, token: str, model: dict[str, str]) -> None:
    given_order = order(run=run, token=token, model=model)
    text = FILLED.replace("'THE ORDER'", repr(given_order.to_json()))
    assert build.order_in(text) == given_order
    assert build.order_in(text.replace("\n", "\r\n")) == given_order


FILLED = "# a kernel\nimport sys\n\nORDER = 'THE ORDER'\nBUNDLE_SHA256 = ''\n"


def test_the_order_comes_back_from_a_built_script_whatever_is_in_it() -> None:
    odd = order(run="r'\"\\", token='ORDER = ""\nBUNDLE = ""', model={"ä": "\n\u2028\x1b"})
    text = build.script(odd)
    assert build.order_in(text) == odd
    compile(text, "script.py", "exec")


@pytest.mark.parametrize(
    "source",
    [
        "",
        "print('hello')",
        "ORDER = 5",
        "ORDER = ''",
        "ORDER = '{}'",
        "ORDER = (",
        "ORDER = open('x')",
        'x = 1\nORDER = "no"\n',
    ],
)
def test_a_source_that_is_not_ours_has_no_order(source: str) -> None:
    assert build.order_in(source) is None


def test_a_kernel_of_a_newer_relay_is_recognised_as_one() -> None:
    text = build.script(order()).replace('"format":1', '"format":2')
    with pytest.raises(NewerFormat, match="update relay"):
        build.order_in(text)


BUILD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from kaggle_kernels import build
from stages.contract import Order
sys.stdout.write(build.script(Order.from_json(sys.argv[2]), stages=Path(sys.argv[3])))
"""


@pytest.mark.slow
def test_equal_orders_and_sources_give_equal_bytes_in_any_process(tmp_path: Path) -> None:
    asked = order(model={"b": 1, "a": {"d": 2, "c": [3]}}, pins=("x==1", "a==2"))
    scripts = []
    for seed, age_s in (("1", 1_000_000_000), ("2", 1_700_000_000)):
        copy = tmp_path / seed / "stages"
        shutil.copytree(SOURCES, copy, ignore=shutil.ignore_patterns("__pycache__"))
        (copy / "__pycache__").mkdir()
        (copy / "__pycache__" / f"x{seed}.pyc").write_bytes(b"compiled")
        for path in copy.rglob("*"):
            os.utime(path, (age_s, age_s))
        done = subprocess.run(
            [sys.executable, "-c", BUILD, str(ROOT), asked.to_json(), str(copy)],
            capture_output=True,
            check=False,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )
        assert done.returncode == 0, done.stderr.decode()
        scripts.append(done.stdout)
    assert scripts[0] == scripts[1]
    assert scripts[0].decode() == build.script(Order.from_json(asked.to_json()), stages=tmp_path / "1" / "stages")


@pytest.mark.slow
def test_another_order_or_other_sources_give_another_script(tmp_path: Path) -> None:
    copy = tmp_path / "stages"
    shutil.copytree(SOURCES, copy, ignore=shutil.ignore_patterns("__pycache__"))
    usual = build.script(order(), stages=copy)
    assert build.script(order(token="other"), stages=copy) != usual
    (copy / "counting.py").write_text((copy / "counting.py").read_text() + "# changed\n")
    assert build.script(order(), stages=copy) != usual


def test_a_source_that_changes_between_two_pushes_ships_as_it_is_now(tmp_path: Path) -> None:
    (tmp_path / "stages").mkdir()
    shipped = []
    for letter in (b"a", b"b", b"a"):  # of one size and within one tick of the disk's clock
        (tmp_path / "stages" / "one.py").write_bytes(letter)
        shipped.append(build.bundle(tmp_path / "stages"))
    assert shipped[0] == shipped[2] != shipped[1]


def test_what_ships_stays_far_below_what_kaggle_takes() -> None:
    assert len(build.script(order()).encode()) < build.SIZE_BYTES_MAX / 2.5


@pytest.mark.slow
def test_a_script_that_kaggle_would_refuse_is_not_built(tmp_path: Path) -> None:
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "weights.bin").write_bytes(os.urandom(900_000))
    with pytest.raises(build.TooLarge, match=r"would have 1,1\d\d,\d\d\d bytes and Kaggle takes less than 1,000,000"):
        build.script(order(), stages=tmp_path / "stages")


def test_secrets_lying_about_do_not_ship(tmp_path: Path) -> None:
    copy = tmp_path / "stages"
    shutil.copytree(SOURCES, copy, ignore=shutil.ignore_patterns("__pycache__"))
    usual = build.script(order(), stages=copy)
    (copy / ".env").write_text("KAGGLE_KEY=0123456789")
    (copy / ".cache").mkdir()
    (copy / ".cache" / "x.py").write_text("x")
    (copy / "runner.py~").write_text("an editor's")
    assert build.script(order(), stages=copy) == usual


UPGRADED = """
import sys
from pathlib import Path
import stages
from kaggle_kernels import build
from stages.contract import Order
order = Order.from_json(sys.argv[1])
before = build.script(order)
with (Path(stages.__path__[0]) / "counting.py").open("a") as file:
    file.write("# another version")
print(build.script(order) == before, build.bundle(Path(stages.__path__[0])) == build._own_bundle())
"""


@pytest.mark.slow
def test_an_upgrade_beside_a_daemon_changes_nothing_of_what_it_ships(tmp_path: Path) -> None:
    for name in ("stages", "kaggle_kernels"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-c", UPGRADED, order().to_json()]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "True False\n"
