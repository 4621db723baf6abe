"""How much an answer may use, whatever it tries, and that one whose reference solution takes longer may take longer too."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.rewards import close_judges, judge_counts
from stages.rewards.judging.client import JUDGES, JudgeVerdict, Question
from stages.rewards.python_tests import LIMITS_S, _limit_s, _problem, passed
from stages.stage import StageFailed

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the fences are Linux's")


def asked(code: str, test: str, cpu_s: int = 1) -> JudgeVerdict:
    frames = ({"setup": "", "code": code}, {"setup": "", "tests": [test]})
    return JUDGES["python"].ask([Question(json.dumps({"cpu_s": cpu_s}), tuple(map(json.dumps, frames)))])[0]


# --- hostile answers --------------------------------------------------------

AT_ONCE = {
    "a bomb of processes": "import os\nwhile True: os.fork()",
    "a bomb of processes that goes on": "import os\nwhile True:\n  try: os.fork()\n  except OSError: pass",
    "threads": "import threading\nwhile True: threading.Thread(target=lambda: 1).start()",
    "an endless loop": "while True: pass",
    "an endless loop that catches everything": "while True:\n  try:\n    while True: pass\n  except BaseException: pass",
    "an endless number": "10 ** 10 ** 10",
    "an endless pattern": "import re\nre.match('(a+)+$', 'a' * 40 + 'b')",
    "an endless sort": "class L:\n  def __lt__(s, o):\n    while True: pass\nsorted([L(), L()])",
    "memory": "x = bytearray(10 ** 10)",
    "memory by and by": "x = []\nwhile True: x.append(bytearray(10 ** 6))",
    "memory that is caught": "x = []\nwhile True:\n  try: x.append(bytearray(10 ** 6))\n  except MemoryError: pass",
    "a flood of text": "while True: print('x' * 10 ** 6)",
    "a flood of text past Python": "import os\nwhile True: os.write(1, b'x' * 10 ** 6)",
    "a flood to all that is open": "import os\nwhile True:\n  for n in range(20):\n    try: os.write(n, b'x' * 999)\n    except OSError: pass",
    "a wait": "import time\ntime.sleep(99)",
    "a wait by turns": "import threading\nlock = threading.Lock()\nlock.acquire()\nwhile True: lock.acquire(timeout=0.02)",
    "a wait for input": "import os\nos.read(3, 1)\nos.read(4, 1)\nos.read(5, 1)\nos.read(6, 1)",
    "a signal to all": "import os, signal\nos.kill(-1, signal.SIGKILL)",
    "a signal to the judge": "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)",
    "a deaf ear": "import signal\nfor n in range(1, 65):\n  try: signal.signal(n, signal.SIG_IGN)\n  except (OSError, ValueError): pass\nwhile True: pass",
    "later limits": "import resource\ntry: resource.setrlimit(resource.RLIMIT_CPU, (60, 60))\nexcept BaseException: pass\nwhile True: pass",
    "an end that does not end": "import atexit\natexit.register(lambda: [1 for _ in iter(int, 1)])\nraise SystemExit",
    "an object that does not go": "class D:\n  def __del__(self):\n    while True: pass\nD()",
    "an exit that is none": "import os, sys\nos._exit = sys.exit = lambda *a: None\nraise SystemExit",
    "a depth without end": "import sys\nsys.setrecursionlimit(10 ** 9)\ndef g(): g()\ng()",
    "C's own functions": "import ctypes\nctypes.CDLL(None).system(b'true')",
    "a hole in memory": "import sys\nc = sys.modules['stages.rewards.judging.sandbox'].ctypes\nc.memset(0, 1, 10 ** 6)",
    "a child by another way": "import _posixsubprocess, multiprocessing, subprocess",
    "the network": "import socket\nsocket.create_connection(('127.0.0.1', 22))",
    "a hook of its own": "import sys\nsys.settrace(lambda *a: [1 for _ in iter(int, 1)])\ndef g(): pass\ng()",
}  # fmt: skip
WHEN_ASKED = {
    "an endless generator": ("def f(x):\n  while True: yield x", "assert list(f(2)) == [5]"),
    "an endless search": ("import itertools\ndef f(x): return itertools.count(6)", "assert 5 in f(2)"),
    "an endless text": ("class A:\n  def __str__(self):\n    while True: pass\ndef f(x): return A()", "assert str(f(2)) == '5'"),
    "an endless truth": ("class A:\n  def __bool__(self):\n    while True: pass\ndef f(x): return A()", "assert f(2)"),
    "an endless list": ("class A(list):\n  def __iter__(self):\n    while True: yield 5\ndef f(x): return A([4])", "assert f(2) == [5]"),
    "a list that holds itself": ("def f(x):\n  a = []\n  a.append(a)\n  return a", "assert f(2) == 5"),
    "a deep list": ("def f(x):\n  a = []\n  for _ in range(10 ** 5): a = [a]\n  return a", "assert f(2) == 5"),
    "a long range": ("def f(x): return range(10 ** 15)", "assert list(f(2)) == [5]"),
    "numbers that collide": ("def f(x): return {n * (2 ** 61 - 1) for n in range(10 ** 5)}", "assert f(2) == {5}"),
    "a class that is never made": ("class A:\n  def __new__(cls):\n    while True: pass\nf = A", "assert f().x == 5"),
    "an error that never speaks": ("class E(Exception):\n  def __str__(self):\n    while True: pass\ndef f(x): raise E", "assert f(2) == 5"),
    "an attribute without end": ("class A:\n  def __getattr__(self, n): return A()\nf = A()", "while True: f = f.x"),
}  # fmt: skip
HOSTILE = {name: (code + "\ndef f(x): return 6", "assert f(2) == 5") for name, code in AT_ONCE.items()} | WHEN_ASKED


def marked(name: str) -> object:
    """Those that use up their limit of processor time are slow ones."""
    endless = "while True" in "".join(HOSTILE[name]) or "endless" in name
    return pytest.param(name, marks=[pytest.mark.slow] if endless else [])


@pytest.mark.slow
@LINUX
@pytest.mark.parametrize("name", [marked(name) for name in HOSTILE])
def test_a_hostile_answer_is_wrong_bounded_and_harms_nobody(name: str) -> None:
    assert (
        asked(f"def f(x): return 5 # before {name}", "assert f(2) == 5").said == "1"
    )  # now there is a judge, whatever was before
    before = judge_counts()
    verdict = asked(*HOSTILE[name])
    assert verdict.said in ("", "0")
    assert verdict.cpu_s < 2.0  # as the kernel counted it, on however busy a machine
    assert asked(f"def f(x): return 5 # after {name}", "assert f(2) == 5").said == "1"
    after = judge_counts()
    assert (after["lost"], after["started"]) == (before["lost"], before["started"])


@LINUX
def test_the_kernel_opens_files_of_the_libraries_alone() -> None:
    """Past Python, where the audit hook sees nothing: other processes' memory is a file, and may hold the tests."""
    code = """
import sys
fences = sys.modules['stages.rewards.judging.sandbox']
NUMBER = 56 if fences.platform.machine() == 'aarch64' else 257
def f(path): return fences.LIBC.syscall(NUMBER, -100, path.encode(), 0, 0) >= 0
"""
    closed = ["/etc/passwd", "/proc/self/mem", "/proc/1/mem", "/proc/1/environ", str(Path(__file__))]
    said = asked(code, f"assert [f(path) for path in {closed}] == {[False] * len(closed)}")
    if not landlocked():
        pytest.skip("this kernel has no Landlock")
    assert said.said == "1"
    assert asked(code, f"assert f({json.__file__!r}) == True").said == "1"


@pytest.mark.slow
@LINUX
def test_an_answer_keeps_none_of_roots_rights_but_to_read_files() -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); from stages.rewards.judging import sandbox; sandbox.give_up_privileges()\n"
        "print({line.split()[1] for line in open('/proc/self/status') if line.startswith(('CapEff', 'CapPrm'))})\n"
        "print(sandbox.LIBC.prctl(3, 0, 0, 0, 0))  # PR_GET_DUMPABLE"
    )
    root = str(Path(__file__).parents[2])
    said = subprocess.run([sys.executable, "-c", program, root], capture_output=True, text=True, check=True).stdout
    assert said.splitlines() in ([str({f"{rights:016}"}), "0"] for rights in (0, 4))  # without and with root's


def landlocked() -> bool:
    from stages.rewards.judging.sandbox import LANDLOCK_CREATE_RULESET, LIBC

    return LIBC is not None and LIBC.syscall(LANDLOCK_CREATE_RULESET, 0, 0, 1) > 0


@pytest.mark.slow
@LINUX
def test_the_judge_itself_holds_neither_tests_nor_answers() -> None:
    """An answer is forked from it, and may find a way to read all memory that it was forked with."""
    close_judges()
    tests, code = "wom" + "bat" * 3, "num" + "bat" * 3
    for number in range(8):
        assert asked(f"def f(x): return {number} # {code}", f"assert f(2) == {number}, '{tests}'").said == "1"
    judge = JUDGES["python"]._process
    assert judge is not None
    memory = memory_of(judge.pid)
    assert b"COMMON_MODULES" in memory, "the search has to find what is there"
    assert tests.encode() not in memory
    assert code.encode() not in memory


def memory_of(process: int) -> bytes:
    parts = []
    with Path(f"/proc/{process}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{process}/maps").read_text().splitlines():
            places, rights = line.split()[:2]
            if rights.startswith("rw"):
                begin, end = (int(place, 16) for place in places.split("-"))
                memory.seek(begin)
                parts.append(memory.read(end - begin))
    return b"".join(parts)


# --- the reference's time ---------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "limit_s"),
    [
        (JudgeVerdict("1", cpu_s=0.01), 1), (JudgeVerdict("1", cpu_s=0.25), 1), (JudgeVerdict("1", cpu_s=0.26), 4), (JudgeVerdict("1", cpu_s=1.0), 4),
        (JudgeVerdict("1", cpu_s=1.01), 16), (JudgeVerdict("1", cpu_s=2.4), 16), (JudgeVerdict("1", cpu_s=15.0), 16),
        (JudgeVerdict("0", cpu_s=2.4), 1), (JudgeVerdict("", limit=True, cpu_s=16.0), 1),
    ],
)  # fmt: skip
def test_an_answer_may_take_four_times_as_long_as_a_right_reference_in_coarse_classes(
    reference: JudgeVerdict, limit_s: int
) -> None:
    assert _limit_s(reference) == limit_s
    assert limit_s in LIMITS_S


def burning(seconds: float, gives: int = 5) -> str:
    return f"import time\ndef f(x):\n  while time.process_time() < {seconds}: pass\n  return {gives}"


def wanted(reference: str) -> str:
    return json.dumps({"setup": "", "tests": ["assert f(2) == 5"], "reference": reference})


@pytest.mark.slow
def test_an_answer_may_be_slow_where_its_reference_is() -> None:
    slow, fast, wrong = wanted(burning(0.5)), wanted("def f(x): return 5"), wanted(burning(0.5, gives=6))
    assert passed([burning(1.7), burning(1.7, 6), burning(9.0), burning(0.1)], [slow] * 4) == [True, False, False, True]
    assert passed([burning(1.7)] * 2, [fast, wrong]) == [False, False]
    assert passed([f"```python\n{burning(1.8)}\n```"], [wanted(f"```python\n{burning(0.5)}\n```")]) == [True]


def test_a_reference_is_timed_only_where_an_answer_met_the_limit() -> None:
    before = judge_counts()["judged"]
    assert passed(["def f(x): return 5 # quick", "def f(x): return 6 # quick"], [wanted(burning(0.1))] * 2) == [
        True,
        False,
    ]
    assert judge_counts()["judged"] == before + 2


# --- any text ---------------------------------------------------------------

PIECES = st.sampled_from(
    ["def f(x):", "class A:", "return x", "return", "lambda x:", "yield", "import os", "import sys", "while True:", "for i in range(9):",
     "try:", "except:", "raise", "f", "x", "5", "A()", "=", "==", "+", "(", ")", "[", "]", "{", "}", ":", ",", ".", "*", "'", '"' * 3,
     "# ", "\n", "\n  ", "\n    ", "\t", "\r\n", "\\", "```", "```python\n", "__class__", "__eq__", "sys.exit()", "os._exit(0)",
     "assert", "global f", "del f", "async", "await", "@", "print(x)", "\x0c", "\ud800", "é", "０"],
)  # fmt: skip


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.lists(PIECES, max_size=14).map(" ".join), min_size=8, max_size=8))
def test_any_text_is_judged_without_harm(texts: list[str]) -> None:
    before = judge_counts()
    answers = [text if number % 2 else f"{text}\ndef f(x): return 6" for number, text in enumerate(texts)]
    assert set(passed(answers, [wanted("")] * len(answers))) <= {False}
    after = judge_counts()
    assert after["lost"] == before["lost"]
    assert after["started"] <= max(1, before["started"])


JSON = st.recursive(
    st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(JSON.map(json.dumps) | st.text())
def test_tests_of_any_other_form_are_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(StageFailed, match="should be"):
        _problem(text)
