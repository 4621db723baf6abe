"""Python answers on trial: what they are given and give back, and that no process or memory of theirs reaches the tests."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stages.rewards import correctness_reward, judge_counts
from stages.rewards.judging.client import Judge, Question
from stages.rewards.python_tests import CODE_CHARS_MAX, code_of, passed
from stages.stage import StageFailed

ROOT = Path(__file__).parents[2]
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")


def trial(code: str, *tests: str, setup: str = "") -> bool:
    return passed([code], [json.dumps({"setup": setup, "tests": list(tests)})])[0]


def returned(code: str, expected: object) -> bool:
    """Whether the code's `f()` gives this value; the test that says so never reaches the code's process."""
    return trial(code, f"assert f() == {expected!r}")


@pytest.mark.parametrize(
    "value",
    [
        "None", "True", "-1", "2**200", "-(10**5000)", "0.1", "float('inf')", "1+2j", "''", "'a\\ud800\\n'", "b'\\x00'",
        "[]", "[1, [2, (3,)]]", "(1,)", "{1, 2}", "frozenset({1})", "{'a': {1: (2,)}}", "range(3)", "bytearray(b'1')",
        "Fraction(1, 3)", "Decimal('1.10')", "deque([1])", "date(2020, 1, 2)", "timedelta(days=1)",
    ],
)  # fmt: skip
def test_plain_values_arrive_as_they_are(value: str) -> None:
    setup = (
        "from fractions import Fraction\nfrom decimal import Decimal\nfrom collections import deque\n"
        "from datetime import date, timedelta"
    )
    code = f"{setup}\ndef f(x): return x, type(x).__name__"
    assert trial(
        code,
        f"v, n = f({value})\nassert v == {value} and type(v) is type({value}) and n == type(v).__name__",
        setup=setup,
    )


def test_every_test_has_to_pass_and_there_has_to_be_one() -> None:
    code = "def f(x): return x"
    assert trial(code, "assert f(1) == 1", "assert f(2) == 2")
    assert not trial(code, "assert f(1) == 1", "assert f(2) == 3")
    assert not trial(code)


def test_the_setup_may_need_the_answer_and_the_answer_the_setup() -> None:
    node = "class Node:\n  def __init__(self, v): self.v, self.next = v, None\ndef last(n): return last(n.next) if n.next else n.v"
    assert trial(node, "assert last(root) == 2", setup="root = Node(1)\nroot.next = Node(2)")
    pair = "class Pair:\n  def __init__(self, a, b): self.a, self.b = a, b"
    assert trial(
        "def f(pairs): return sum(p.a * p.b for p in pairs)", "assert f([Pair(1, 2), Pair(3, 4)]) == 14", setup=pair
    )
    assert trial("def f(x): return math.floor(x)", "assert f(2.5) == 2", setup="import math")


def test_what_the_setup_defines_cannot_be_replaced_by_the_answer() -> None:
    close = "def close(a, b): return abs(a - b) < 1e-6"
    assert trial("def f(x): return 5.0", "assert close(f(2), 5)", setup=close)
    assert not trial("def f(x): return 6.0\ndef close(a, b): return True", "assert close(f(2), 5)", setup=close)
    math_too = "import types\nmath = types.SimpleNamespace(isclose=lambda *a: True)\ndef f(x): return 6.0"
    assert not trial(math_too, "assert math.isclose(f(2), 5)", setup="import math")


def test_errors_arrive_as_what_they_are() -> None:
    code = "def f(x):\n  raise ValueError(x)"
    assert trial(code, "try:\n  f(1)\nexcept ValueError as e:\n  assert str(e) == '1'\nelse:\n  assert False")
    assert not trial("def f(x): return x", "try:\n  f(1)\nexcept ValueError:\n  pass\nelse:\n  assert False")


@pytest.mark.slow
def test_an_answer_cannot_find_the_tests_in_its_memory() -> None:
    look = """
import sys
def f():
    frame, seen = sys._getframe(), []
    while frame:
        seen += [repr(v) for v in frame.f_locals.values()] + [repr(v) for v in frame.f_globals.values()]
        frame = frame.f_back
    for module in list(sys.modules.values()):
        seen += [repr(v) for v in vars(module).values() if isinstance(v, (str, list, dict, tuple))]
    word = ''.join(map(chr, [113, 117, 111, 107, 107, 97]))
    return word in ' '.join(seen)
"""
    # Judged twice, with others before it, so that a judge that kept tests would have some.
    answers = [f"def f(): return 1 # {number}" for number in range(8)] + [look]
    wanted = json.dumps({"setup": "", "tests": ["quokka = 'quokka'\nassert f() == True"]})
    assert passed(answers, [wanted] * 9) == [True] * 8 + [False]
    finds = look.replace("def f():", "quokka = 'quok' + 'ka'\ndef f():")
    assert returned(finds, True), "the search has to find what is there"
    assert returned(look, False)


@pytest.mark.slow
@LINUX
def test_an_answer_has_no_environment_no_files_and_a_folder_that_is_gone() -> None:
    assert returned("import os\ndef f(): return dict(os.environ)", {})
    assert returned("import os\ndef f():\n  try: return os.getcwd()\n  except OSError: return 'gone'", "gone")
    assert returned("import sys\ndef f(): return sys.stdin.read()", "")
    refused = "import os\ndef f():\n  try: {}\n  except OSError as e: return 'refused'\n  return 'done'"
    for act in (
        "os.listdir('/')", "os.mkdir('x')", "os.symlink('/', 'x')", "os.remove('/tmp/none')", "os.kill(1, 0)", "os.pipe()",
        "os.setuid(0)", "os.open('/proc/self/mem', os.O_RDONLY)", "os.execv('/bin/true', ['true'])",
        "os.posix_spawn('/bin/true', ['true'], {})", "os.setsid()", "os.nice(5)", "os.truncate('/tmp/none', 1)",
    ):  # fmt: skip
        assert returned(refused.format(act), "refused"), act


@LINUX
def test_an_answer_that_calls_the_system_itself_is_refused_by_the_kernel() -> None:
    """What the audit hook does not see: functions of C that were loaded before it was there."""
    code = """
import sys
def f():
    fences = sys.modules['stages.rewards.judging.sandbox']
    libc = fences.LIBC
    libc.prctl.argtypes = None
    return [getattr(libc, 'prctl')(1, 0, 0, 0, 0), fences.LIBC.unshare(0x40000000)]
"""
    assert returned(code, [-1, -1])


def test_a_fence_is_taken_off_only_where_it_is_around_everything() -> None:
    assert code_of("```python\nx = 1\n```") == "x = 1"
    assert code_of("```\nx = 1\n```\n") == "x = 1"
    assert code_of("```Python\r\nx = 1\r\n```") == "x = 1\r"
    assert code_of("x = 1") == "x = 1"
    assert code_of("def f(s): return s.split('```')") == "def f(s): return s.split('```')"
    assert code_of("```python\nfence = '```'\n```") == "fence = '```'"
    for text in (
        "```python\nx = 1",
        "```javascript\nx = 1\n```",
        "```python\nx\n```\n```python\ny\n```",
        "",
        "```\n```",
        "x\0",
        "x" * (CODE_CHARS_MAX + 1),
    ):
        assert code_of(text) is None, text[:20]


@pytest.mark.parametrize(
    "wanted", ["42", "[]", "{", '{"setup": ""}', '{"setup": 1, "tests": []}', '{"setup": "", "tests": "assert 1"}']
)
def test_tests_that_cannot_be_read_end_the_session_in_one_sentence(wanted: str) -> None:
    with pytest.raises(StageFailed, match=r"should be .*tests.* as JSON") as failed:
        correctness_reward(["?"], ["<answer>x = 1</answer>"], answer=[wanted], domain=["python"])
    assert failed.value.cause == "bad-answer"


@pytest.mark.slow
def test_sixty_four_answers_are_judged_together_each_by_its_own_tests() -> None:
    answers = [f"def f(x): return x + {number}" for number in range(64)]
    wanted = [
        json.dumps({"setup": "", "tests": [f"assert f(1) == {1 + number - (number % 3 == 0)}"]}) for number in range(64)
    ]
    assert passed(answers, wanted) == [number % 3 != 0 for number in range(64)]


def test_chance_and_the_order_in_sets_are_the_same_in_every_session() -> None:
    value = "[random.Random(0).random(), list({'a', 'b', 'c', 'd', 'e', 'f'})]"
    elsewhere = subprocess.run(
        [sys.executable, "-c", f"import random; print({value})"],
        env={"PYTHONHASHSEED": "0"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    drawn = value.replace("random.Random(0)", "random")
    assert trial(f"import random\ndef f(): return {drawn}", f"assert f() == {elsewhere.stdout.strip()}")


# --- processes --------------------------------------------------------------


def children_of(process: int) -> set[int]:
    return {int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()}


def gone(process: int, within_s: float = 20.0) -> bool:
    until_s = time.monotonic() + within_s
    while time.monotonic() < until_s:
        try:
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.slow
@LINUX
def test_a_judge_that_is_killed_is_replaced_and_the_case_judged() -> None:
    judge = Judge("python")
    tests = json.dumps({"setup": "", "tests": ["assert f() == 1"]})

    def asked(code: str) -> str:
        return judge.ask([Question('{"cpu_s": 1}', (json.dumps({"setup": "", "code": code}), tests))])[0].said

    assert asked("def f(): return 1") == "1"
    assert judge._process is not None
    os.kill(judge._process.pid, signal.SIGKILL)
    assert asked("def f(): return 1 ") == "1"
    assert judge.counts() == {"judged": 2, "limit": 0, "lost": 0, "started": 2}
    judge.close()


@pytest.mark.slow
@LINUX
@pytest.mark.parametrize("ending", ["exit", "kill"])
def test_no_process_is_left_when_the_one_that_trains_ends(ending: str) -> None:
    program = (
        "import sys, json; sys.path.insert(0, sys.argv[1])\n"
        "from stages.rewards import python_tests; from stages.rewards.judging.client import JUDGES\n"
        "python_tests.passed(['def f(): return 1'], [json.dumps({'setup': '', 'tests': ['assert f() == 1']})])\n"
        "print(JUDGES['python']._process.pid, flush=True)\n"
        "sys.argv[2] == 'exit' and sys.exit()\n"
        "python_tests.passed(['while True: pass'], [json.dumps({'setup': '', 'tests': ['assert f() == 1']})] * 1)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(ROOT), ending], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        judge = int(parent.stdout.readline())
        cases: set[int] = set()
        while ending == "kill" and not cases:
            cases = children_of(judge)
        if ending == "kill":
            parent.kill()
        parent.wait()
    assert gone(judge)
    assert all(gone(case) for case in cases)


@pytest.mark.slow
def test_counts_say_what_was_judged() -> None:
    before = judge_counts()
    assert not trial("while True: pass # counted", "assert f() == 1")
    after = judge_counts()
    assert after["judged"] == before["judged"] + 1
    assert after["limit"] == before["limit"] + 1
