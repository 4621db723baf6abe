"""What values of an answer's own may say for themselves, and what they may not: every way in which Python asks an object."""

import json

import pytest

from stages.rewards.python_tests import passed


def trial(code: str, *tests: str, setup: str = "") -> bool:
    return passed([code], [json.dumps({"setup": setup, "tests": list(tests)})])[0]


LIAR = """
class Liar:
    def __eq__(self, other): return True
    def __ne__(self, other): return True
    def __lt__(self, other): return True
    __le__ = __gt__ = __ge__ = __lt__
    def __contains__(self, item): return True
    def __hash__(self): return 5
    def __int__(self): return 5
    __index__ = __int__
    def __float__(self): return 5.0
    def __sub__(self, other): return 0
    __add__ = __rsub__ = __radd__ = __mul__ = __rmul__ = __mod__ = __truediv__ = __sub__
    def __abs__(self): return 0
    def __round__(self, digits=0): return 5
    def __format__(self, spec): return '5'
    def __instancecheck__(self, instance): return True
liar = Liar()
def f(x): return liar
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "test",
    [
        "assert f(2) == 5", "assert 5 == f(2)", "assert not f(2) != 5", "assert f(2) != 6", "assert f(2) < 5 or f(2) >= 5",
        "assert f(2) > 4", "assert 5 in f(2)", "assert 5 not in f(2)", "assert f(2) in [5]", "assert f(2) in {5}",
        "assert f(2) in (5,)", "assert [f(2)] == [5]", "assert {f(2)} == {5}", "assert {5: 1}[f(2)] == 1",
        "assert [5].count(f(2)) == 1", "assert [5].index(f(2)) == 0", "assert f(2) - 5 == 0", "assert abs(f(2) - 5) < 1",
        "assert abs(5 - f(2)) < 1", "assert round(f(2)) == 5", "assert int(f(2)) == 5", "assert float(f(2)) == 5",
        "assert sum([f(2)]) == 5", "assert max(f(2), 4) == 5", "assert sorted([f(2), 1]) == [1, 5]", "assert f(2) % 5 == 0",
        "import math\nassert math.isclose(f(2), 5)", "import operator\nassert operator.eq(f(2), 5)", "assert f'{f(2):d}' == '5'",
        "assert range(9)[f(2)] == 5", "assert not set([f(2)]) ^ {5}", "assert (1, f(2)) == (1, 5)", "assert {'a': f(2)} == {'a': 5}",
        "assert isinstance(f(2), int)", "assert type(f(2)) == int", "assert f(2) is True", "assert all(f(2) == v for v in [5])",
        "match f(2):\n  case 5: pass\n  case _: assert False", "match f(2):\n  case int(): pass\n  case _: assert False",
    ],
)  # fmt: skip
def test_an_object_that_agrees_with_everything_is_not_what_is_expected(test: str) -> None:
    assert not trial(LIAR, test)


@pytest.mark.parametrize(
    ("base", "value", "other"),
    [("int", "4", "5"), ("str", "'a'", "'b'"), ("float", "4.0", "5.0"), ("list", "[1]", "[2]"), ("tuple", "(1,)", "(2,)"),
     ("dict", "{1: 1}", "{2: 2}"), ("set", "{1}", "{2}"), ("frozenset", "[1]", "frozenset([2])"), ("Counter", "'a'", "Counter('b')"),
     ("OrderedDict", "{1: 1}", "OrderedDict({2: 2})"), ("deque", "[1]", "deque([2])")],
)  # fmt: skip
def test_a_subclass_of_a_plain_type_is_worth_its_plain_value(base: str, value: str, other: str) -> None:
    imported = "from collections import Counter, OrderedDict, deque"
    lies = "def __eq__(self, o): return True\n  def __contains__(self, i): return True\n  def __hash__(self): return 0"
    code = f"{imported}\nclass Lie({base}):\n  {lies}\ndef f(): return Lie({value})"
    assert not trial(code, f"assert f() == {other}", setup=imported)
    assert trial(code, f"assert f() == {base}({value})", setup=imported)


AGREEING = (
    "class Agreeing:\n  def __getattribute__(self, name): return lambda *arguments: True\ndef f(x): return Agreeing()"
)
OPERATORS = "add sub mul matmul truediv floordiv mod divmod pow lshift rshift and xor or"


UNARY = (
    "eq ne lt le gt ge contains hash neg pos abs invert int float complex index round trunc floor ceil format "
    "instancecheck subclasscheck subclasshook"
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [*UNARY.split(), *(side + name for name in OPERATORS.split() for side in ("", "r", "i"))]
)
def test_no_operator_is_asked_of_an_object_by_the_name_of_its_method(name: str) -> None:
    assert not trial(AGREEING, f"assert f(2).__{name}__(5)")


@pytest.mark.parametrize(
    "test",
    [
        "assert f(2).__class__.__eq__(f(2), 5)",
        "assert getattr(f(2), '__eq__')(5)",
        "assert f(2).__getattribute__('__eq__')(5)",
        "assert f(2).__getattr__('__eq__')(5)",
        "import operator\nassert operator.methodcaller('__eq__', 5)(f(2))",
        "import operator\nassert operator.attrgetter('__lt__')(f(2))(5)",
    ],
)
def test_nor_is_such_a_method_had_in_another_way(test: str) -> None:
    assert not trial(LIAR, test)
    assert not trial(AGREEING, test)


def test_a_method_of_the_answers_own_is_called_with_what_the_test_gives_it() -> None:
    own = "class Words:\n  def __init__(self): self.all = []\n  def add(self, w): self.all.append(w)\n  def has(self, w): return w in self.all"
    assert trial(own, "w = Words()\nw.add('a')\nassert w.has('a') and not w.has('b')")


def test_truth_is_pythons_own() -> None:
    """It tells the answer nothing that is expected: who may return True may return what is true."""
    assert trial("import re\ndef f(x): return re.search('a', x)", "assert f('cat')", "assert not f('dog')")
    assert trial("def f(x): return map(str, x)", "assert f([])")
    assert trial("class A:\n  pass\ndef f(): return A()", "assert f()", "assert bool(f()) and (1 if f() else 0)")
    stack = "class S:\n  def __init__(self): self.v = []\n  def push(self, x): self.v.append(x)\n  def __len__(self): return len(self.v)"
    assert trial(stack, "s = S()\nassert not s\ns.push(1)\nassert s and len(s) == 1")
    assert not trial("class A:\n  def __bool__(self): return False\ndef f(): return A()", "assert f()")
    assert not trial("class A:\n  def __bool__(self): return 1\ndef f(): return A()", "assert f()")
    assert not trial("class A:\n  def __bool__(self): raise ValueError\ndef f(): return A()", "assert f()")


def test_what_is_in_an_iterable_is_found_by_looking_here() -> None:
    assert trial("def f(x): return iter([1, x])", "assert 2 in f(2)", "assert 3 not in f(2)")
    assert trial("def f(x): return {x: 1}.keys()", "assert 2 in f(2)", "assert sorted(f(2)) == [2]")
    own = "class A:\n  def __iter__(self): return iter([1])\n  def __contains__(self, x): return True\ndef f(): return A()"
    assert trial(own, "assert 1 in f()", "assert 2 not in f()")


def test_an_object_is_itself_and_not_none() -> None:
    color = "import enum\nclass Color(enum.Enum):\n  RED = 1\n  BLUE = 2\ndef f(x): return Color(x)"
    assert trial(color, "assert f(1) == Color.RED and f(1) is not None and f(1) != None", "assert f(1) in {Color.RED}")
    assert trial(color, "assert f(1) != Color.BLUE and f(1) not in [Color.BLUE]")
    assert not trial(color, "assert f(2) == Color.RED")
    same = "class E:\n  def __eq__(self, o): return True\ndef f(): return E()"
    assert not trial(same, "assert f() == E()")


def test_an_object_is_an_instance_of_the_answers_classes_alone() -> None:
    code = "class A: pass\nclass B(A): pass\ndef f(): return B()"
    assert trial(code, "assert isinstance(f(), A) and issubclass(B, A)", "assert not isinstance(f(), int)")
    assert trial(code, "assert not isinstance(5, A)")
    lie = "class M(type):\n  def __instancecheck__(c, o): return True\nclass A(metaclass=M): pass\ndef f(): return 6"
    assert not trial(lie, "assert isinstance(f(), A)")


@pytest.mark.parametrize(
    ("code", "test"),
    [
        ("from collections import Counter\ndef f(x): return Counter(x)", "c = f('aab')\nassert c['z'] == 0 and c.most_common(1) == [('a', 2)]"),
        ("from collections import defaultdict\ndef f():\n  d = defaultdict(list)\n  d[1].append(2)\n  return d", "d = f()\nassert d == {1: [2]} and d[3] == []"),
        ("from collections import OrderedDict\ndef f(): return OrderedDict([(1, 2), (3, 4)])", "d = f()\nd.move_to_end(1)\nassert list(d) == [3, 1]"),
        ("from collections import namedtuple\nP = namedtuple('P', 'x y')\ndef f(): return P(1, 2)", "assert f() == (1, 2) and f().y == 2 and repr(f()) == 'P(x=1, y=2)'"),
        ("from typing import NamedTuple\nclass P(NamedTuple):\n  x: int\n  y: int = 2\ndef f(): return P(1)", "assert f() == (1, 2) and f().y == 2"),
        ("def f(x): return type(x)", "assert f(5) is int and f('a') == str and f(1.5) in (float,)"),
        ("from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass P:\n  x: int\ndef f(): return P(1)", "assert f().x == 1"),
        ("def f():\n  'Doc.'\n  return 1", "assert f.__doc__ == 'Doc.' and f.__name__ == 'f'"),
        ("class A:\n  def __init__(self): self.line, self.place = 1, 2\ndef f(): return A()", "a = f()\nassert (a.line, a.place) == (1, 2)"),
        ("class D:\n  def __init__(self): self.d = {1: 2}\n  def __delitem__(self, k): del self.d[k]\n  def __len__(self): return len(self.d)", "d = D()\ndel d[1]\nassert len(d) == 0"),
        ("def f(x): return sum(x)", "assert f(iter([1, 2])) == f(n for n in (1, 2)) == f(map(int, '12')) == f({1: 0, 2: 0}.keys()) == 3"),
        ("def f(a): a.append(1)", "a = []\nf(a=a)\nassert a == [1]"),
        ("def f(g): return g(3)", "assert f(lambda x, y=4: x + y) == 7 and f(lambda x, *, y=5: x + y) == 8"),
    ],
)  # fmt: skip
def test_what_python_gives_is_given(code: str, test: str) -> None:
    assert trial(code, test)


def test_an_attribute_that_the_answer_has_not_is_not_there() -> None:
    assert not trial("def f(): return 1", "assert f.__doc__")
    assert not trial("def f(): return 1", "assert f.__annotations__")
    assert not trial("def f(): return 1", "assert hasattr(f, 'ask') or hasattr(f, 'line') or hasattr(f, '_line')")


# --- errors -----------------------------------------------------------------

EXPECTED = "try:\n  f(1)\nexcept {}{}:\n  {}\nelse:\n  assert False"


@pytest.mark.parametrize(
    ("raised", "caught"),
    [
        ("ValueError(x)", "ValueError"), ("E('own')", "ValueError"), ("KeyError('a')", "KeyError"), ("OSError(2, 'no')", "FileNotFoundError"),
        ("SystemExit(3)", "SystemExit"), ("KeyboardInterrupt", "KeyboardInterrupt"), ("decimal.DivisionByZero", "ZeroDivisionError"),
        ("UnicodeDecodeError('utf-8', b'x', 0, 1, 'why')", "UnicodeDecodeError"), ("ExceptionGroup('m', [ValueError()])", "Exception"),
        ("json.JSONDecodeError('m', 'd', 0)", "json.JSONDecodeError"), ("Bare", "Exception"), ("StopIteration(4)", "StopIteration"),
    ],
)  # fmt: skip
def test_an_error_is_caught_by_each_of_its_classes_and_says_what_it_said(raised: str, caught: str) -> None:
    code = f"import decimal, json\nclass E(ValueError): pass\nclass Bare(Exception): pass\ndef f(x): raise {raised}"
    assert trial(code, EXPECTED.format(caught, "", "pass"), setup="import json")
    said = f"{raised}" if "(" in raised else f"{raised}()"
    text = str(eval(said, {"E": ValueError, "x": 1, "Bare": Exception, "json": json, "decimal": __import__("decimal")}))
    assert trial(code, EXPECTED.format(caught, " as e", f"assert str(e) == {text!r}"), setup="import json")


def test_an_error_of_another_class_is_not_caught() -> None:
    assert not trial("def f(x): raise KeyError", EXPECTED.format("ValueError", "", "pass"))
    assert not trial(
        "class ValueError(Exception): pass\ndef f(x): raise TypeError", EXPECTED.format("ValueError", "", "pass")
    )
    said = "class E(KeyError):\n  def __str__(self): return 'said'\ndef f(x): raise E('a')"
    assert trial(said, EXPECTED.format("KeyError", "", "pass"))
    assert not trial("def f(x): raise SystemExit", EXPECTED.format("Exception", "", "pass"))


def test_an_error_of_the_setups_own_is_caught_by_it() -> None:
    setup = "class Empty(Exception): pass"
    assert trial(
        "def f(x): raise Empty('none')", EXPECTED.format("Empty", " as e", "assert str(e) == 'none'"), setup=setup
    )
    assert not trial("def f(x): raise ValueError", EXPECTED.format("Empty", "", "pass"), setup=setup)


@pytest.mark.slow
@pytest.mark.parametrize(
    "ends",
    ["os._exit(0)", "os.close(n)", "os.write(n, b'\\0\\0\\0\\1x')", "os.write(n, b'\\xff' * 99)", "n = '*' * 9_000_000",
     "os.write(n, b'\\0\\0\\0\\x15{\"value\": [\"object\", []]}')", "sys.setrecursionlimit(10**9); f(x)"],
)  # fmt: skip
def test_no_test_takes_the_end_of_the_answers_process_for_the_error_it_expects(ends: str) -> None:
    end = f"import os, sys\ndef f(x):\n  for n in range(3, 40):\n    try:\n      {ends}\n    except OSError: pass\n  return n"
    for caught in ("Exception", "BaseException", ""):
        assert not trial(end, EXPECTED.format(caught, "", "pass"))


# --- what the tests use -----------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    ["raise ValueError", "x = (", "import sys; sys.exit(0)", "import os; os._exit(0)", "x = 1", "pass", "# nothing", "'text'", "f = 1; raise ValueError"],
)  # fmt: skip
def test_tests_that_use_nothing_of_the_answer_are_passed_by_none(code: str) -> None:
    for test in (
        "assert True",
        "x = 1\nassert x",
        "assert [y for y in [1]]",
        "assert sum([1]) == 1",
        "def f(): return 1\nassert f() == 1",
    ):
        assert not trial(code, test), test
        assert not trial(code, test, setup="f = 1\nx = 2"), test


@pytest.mark.slow
def test_an_answer_whose_code_does_not_run_to_its_end_is_wrong_whatever_it_defined_before() -> None:
    define = "def f(x): return 5\n"
    for end in (
        "raise ValueError",
        "1 / 0",
        "import sys\nsys.exit()",
        "exit()",
        "f(",
        "input()",
        "raise KeyboardInterrupt",
    ):
        assert not trial(define + end, "assert f(2) == 5"), end
        assert not trial(define + end, "try:\n  assert f(2) == 5\nexcept BaseException: pass"), end


def test_a_name_within_a_comprehension_of_the_tests_is_no_definition_of_theirs() -> None:
    assert trial("def f(x): return [x]", "assert [f for f in f(5)] == [5]")
    assert not trial("x = 5", "assert [x for x in [5]] == [5] and y")


def test_modules_of_pythons_library_that_tests_use_are_pythons() -> None:
    fake = "class sys:\n  getsizeof = staticmethod(lambda x: 0)\ndef f(x): return 0"
    assert not trial(fake, "assert f((1,)) == sys.getsizeof((1,))")
    assert trial("from sys import getsizeof\ndef f(x): return getsizeof(x)", "assert f((1,)) == sys.getsizeof((1,))")
    assert trial("class Q:\n  def push(self, x): return x\nqueue = Q()", "assert queue.push(1) == 1")
    assert trial("def copy(x): return list(x)", "assert copy((1,)) == [1]")
