r"""Parse an expression, in LaTeX or plain notation, into a tree: either the whole text or nothing.

The grammar is relay's own, because parsers that search prose for mathematics skip what they do not know: a prime, a
degree sign, the subscript of a number, the case of a letter. Here a text with an unknown symbol is rejected, and so is
an ambiguous one such as `a/bc`, `3!!` or `2 3`. Nothing is evaluated. Standard library only.
"""

from collections.abc import Callable

from stages.rewards.symbols import FUNCTIONS, GREEK, is_number, symbols_of
from stages.rewards.trees import Node

LEVELS_MAX = 40
"""Maximum nesting depth of operations."""
_RELATIONS = ("=", "<", ">", r"\le", r"\ge", r"\ne", r"\in")
_SETS = {r"\cup": "union", r"\cap": "intersection", r"\setminus": "without"}
_CALLED = ("f", "g")
"""Names that are functions if a bracket follows; other letters are multiplied by the bracket."""
_CONSTANTS: dict[str, Node] = {
    "e": ("constant", "e"),
    "i": ("constant", "i"),
    r"\pi": ("constant", "pi"),
    r"\infty": ("constant", "oo"),
}


class _Unreadable(ValueError):
    """The text is not an expression, or is ambiguous."""


def read_expression(text: str) -> Node | None:
    """Parse a normalized text. Return None unless all of it is one expression."""
    symbols = symbols_of(text)
    if not symbols:
        return None
    reader = _Reader(symbols)
    try:
        node = reader.statement()
    except _Unreadable:
        return None
    return node if reader.next == "" else None


class _Reader:
    """Recursive-descent parser over the symbols of one text. Each method parses what it is named after, or raises
    _Unreadable.
    """

    def __init__(self, symbols: list[str]) -> None:
        self._symbols = [*symbols, ""]
        self._place = 0
        self._level = 0
        self._bars = 0

    @property
    def next(self) -> str:
        return self._symbols[self._place]

    def _take(self, *expected: str) -> str:
        if self.next == "" or (expected and self.next not in expected):
            raise _Unreadable
        self._place += 1
        return self._symbols[self._place - 1]

    # --- statements and sets

    def statement(self) -> Node:
        """Parse terms with relations between them, or a single term."""
        terms, signs = [self._sets()], []
        while self.next in _RELATIONS:
            signs.append(self._take())
            terms.append(self._sets())
        return ("relation", " ".join(signs), *terms) if signs else terms[0]

    def _sets(self) -> Node:
        left = self._sum()
        first = self.next
        while self.next in _SETS:
            if self.next != first:
                raise _Unreadable  # A ∪ B ∩ C needs brackets
            left = (_SETS[self._take()], left, self._sum())
        return left

    # --- sums, products, powers

    def _sum(self) -> Node:
        self._level += 1
        if self._level > LEVELS_MAX:
            raise _Unreadable
        left = self._signed(self._product)
        while self.next in ("+", "-"):
            left = (self._take(), left, self._product())
        self._level -= 1
        return left

    def _signed(self, read: Callable[[], Node]) -> Node:
        if self.next not in ("+", "-"):
            return read()
        return ("negative", read()) if self._take() == "-" else read()

    def _product(self) -> Node:
        left = last = self._power()
        over = False
        while True:
            if self.next in (r"\cdot", "/"):
                if over and self.next == "/":
                    raise _Unreadable  # 1/2/3
                over = self._take() == "/"
                last = self._signed(self._power)
                left = ("/" if over else "*", left, last)
            elif self._goes_on():
                if over and not (left[1][0] == left[2][0] == "number"):
                    raise _Unreadable  # a/bc, but (1/2)x is how 1/2x is meant
                digits, before, last = is_number(self.next), last, self._power()
                if digits and not (before[0] == last[0] == "factorial"):
                    raise _Unreadable  # 2 3, x2, but 5!5!
                left, over = ("*", left, last), False
            else:
                return left

    def _goes_on(self) -> bool:
        """Return True if another factor follows without an operator."""
        ends = (*_RELATIONS, *_SETS, "", "+", "-", r"\cdot", "/", "^", "_", "!", "'", ",", "&", r"\\", ")", "]", "}")
        return self.next not in (*ends, r"\}", r"\rfloor", r"\rceil", r"\end", r"\circ") and not (
            self.next == "|" and self._bars
        )

    def _power(self) -> Node:
        base = self._primary()
        if self.next == "!":
            self._take()
            base = ("factorial", base)
        if self.next == "^":
            self._take()
            if self.next == r"\circ":
                self._take()
                base = ("degree", base)
            else:
                base = ("^", base, self._exponent())
        if self.next in ("!", "^"):
            raise _Unreadable  # 3!!, 2^3!
        return base

    def _exponent(self) -> Node:
        self._level += 1
        if self._level > LEVELS_MAX:
            raise _Unreadable
        exponent = self._signed(lambda: self._plain_number() or self._primary())
        if self.next == "^":
            self._take()
            exponent = ("^", exponent, self._exponent())
        self._level -= 1
        return exponent

    # --- primaries

    def _primary(self) -> Node:
        symbol = self._take()
        if is_number(symbol):
            return self._number(symbol)
        if symbol in _CONSTANTS and self.next not in ("_", "'"):
            return _CONSTANTS[symbol]
        if (symbol.isalpha() and len(symbol) == 1) or symbol in GREEK:
            return self._named(symbol)
        if symbol in FUNCTIONS:
            return self._function(symbol)
        if symbol.startswith(r"\mathbb "):
            return ("set", symbol[-1])
        if symbol not in _Reader._OPENERS:
            raise _Unreadable
        return _Reader._OPENERS[symbol](self)

    def _plain_number(self) -> Node | None:
        r"""Parse a number without a mixed fraction: `2^3\frac{1}{2}` is a half of 8."""
        return ("number", self._take()) if is_number(self.next) else None

    def _number(self, digits: str) -> Node:
        if self.next == "_":
            raise _Unreadable  # a number in another base
        number = ("number", digits)
        if self.next != r"\frac":
            return number
        self._take()
        fraction = self._fraction()
        if not (digits.isdigit() and fraction[1][0] == fraction[2][0] == "number"):
            return ("*", number, fraction)
        above, below = fraction[1][1], fraction[2][1]
        if not (above.isdigit() and below.isdigit() and int(above) < int(below)):
            raise _Unreadable
        return ("mixed", number, fraction)

    def _named(self, symbol: str) -> Node:
        """Parse a variable, whose name includes primes and subscript, or a function with such a name."""
        name = symbol
        while self.next == "'":
            name += self._take()
        if self.next == "_":
            name += self._take()
            if self.next == "{":
                self._take()
                while self.next != "}":
                    name += self._take()
                self._take()
            else:
                name += self._take()
        if symbol in _CALLED and self.next == "(":
            return ("apply", name, self._primary())
        if symbol in _CALLED and self.next == "^":
            raise _Unreadable  # ambiguous: power or inverse of the function
        return ("name", name)

    def _function(self, name: str) -> Node:
        """Parse a function with its power (`^{-1}` is the inverse), base and argument."""
        base, power = None, None
        while self.next in ("^", "_"):
            if self._take() == "^" and power is None:
                power = self._exponent()
            elif name == r"\log" and base is None:
                base = self._argument_of_command()
            else:
                raise _Unreadable
        argument = self._argument_of_function()
        if power == ("negative", ("number", "1")):
            if name not in (r"\sin", r"\cos", r"\tan"):
                raise _Unreadable
            return ("call", r"\arc" + name[1:], argument)
        called = ("call", name, argument) if base is None else ("call", name, argument, base)
        return called if power is None else ("^", called, power)

    def _argument_of_function(self) -> Node:
        if self.next in ("(", "{"):
            return self._primary()
        factors = self._power()
        while self._goes_on() and self.next not in FUNCTIONS:
            if self.next == "(" or is_number(self.next):
                raise _Unreadable  # sin x(x+1)
            factors = ("*", factors, self._power())
        return factors

    def _argument_of_command(self) -> Node:
        """Parse a command's argument as TeX does: a group in braces, or one symbol (of a number one digit)."""
        if is_number(self.next) and len(self.next) > 1:
            raise _Unreadable
        symbol = self._take()
        if symbol == "{":
            return self._braced()
        if is_number(symbol):
            return ("number", symbol)
        if symbol in _CONSTANTS:
            return _CONSTANTS[symbol]
        if symbol.isalpha() or symbol in GREEK:
            return ("name", symbol)
        raise _Unreadable

    # --- commands and brackets; each method starts after the opening symbol

    def _fraction(self) -> Node:
        above, below = self._argument_of_command(), self._argument_of_command()
        if above == ("name", "d") and below[:2] == ("*", above):
            raise _Unreadable  # a derivative
        return ("/", above, below)

    def _binomial(self) -> Node:
        return ("binomial", self._argument_of_command(), self._argument_of_command())

    def _root(self) -> Node:
        degree: Node = ("number", "2")
        if self.next == "[":
            self._take()
            degree = self._sum()
            self._take("]")
        under = self._primary() if self.next == "(" else self._argument_of_command()
        return ("root", under, degree)

    def _exponential(self) -> Node:
        return ("^", ("constant", "e"), self._argument_of_function())

    def _braced(self) -> Node:
        bars, self._bars = self._bars, 0
        inside = self._sum()
        self._bars = bars
        self._take("}")
        return inside

    def _bracketed(self) -> Node:
        """Parse the content of round or square brackets: one term, a tuple or an interval."""
        begin = self._symbols[self._place - 1]
        bars, self._bars = self._bars, 0
        items = self._items()
        self._bars = bars
        end = self._take(")", "]")
        if len(items) > 1:
            return ("group", begin + end, *items)
        if begin + end not in ("()", "[]"):
            raise _Unreadable
        return items[0]

    def _set(self) -> Node:
        items = self._items()
        self._take(r"\}")
        return ("group", "{}", *items)

    def _items(self) -> list[Node]:
        items = [self._sets()]
        while self.next == ",":
            self._take()
            items.append(self._sets())
        return items

    def _absolute(self) -> Node:
        self._bars += 1
        inside = self._sum()
        self._bars -= 1
        self._take("|")
        return ("absolute", inside)

    def _rounded(self) -> Node:
        begin = self._symbols[self._place - 1]
        inside = self._sum()
        self._take({r"\lfloor": r"\rfloor", r"\lceil": r"\rceil"}[begin])
        return (begin[2:], inside)

    def _matrix(self) -> Node:
        rows = [[self._sum()]]
        while self.next != r"\end":
            if self._take("&", r"\\") == "&":
                rows[-1].append(self._sum())
            elif self.next != r"\end":
                rows.append([self._sum()])
        self._take(r"\end")
        if len({len(row) for row in rows}) != 1:
            raise _Unreadable
        return ("matrix", *(("row", *row) for row in rows))

    _OPENERS: dict[str, Callable[["_Reader"], Node]] = {
        "(": _bracketed,
        "[": _bracketed,
        "{": _braced,
        r"\{": _set,
        "|": _absolute,
        r"\frac": _fraction,
        r"\binom": _binomial,
        r"\sqrt": _root,
        r"\exp": _exponential,
        r"\lfloor": _rounded,
        r"\lceil": _rounded,
        r"\begin": _matrix,
        r"\emptyset": lambda reader: ("set", ""),
    }
