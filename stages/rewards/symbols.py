"""Tokenizer for expressions, with the known symbols.

One unknown character or word makes the whole text invalid: nothing is skipped, so nothing that changes a value can get
lost. Standard library only.
"""

import re

CHARS_MAX = 200
DIGITS_MAX = 60
DEPTH_MAX = 8
"""Maximum nesting depth of brackets. Human answers have three or four levels."""

_GREEK = (
    "alpha beta gamma delta epsilon varepsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau phi varphi chi psi omega "
    "Gamma Delta Theta Lambda Sigma Phi Psi Omega ell"
)
GREEK = frozenset("\\" + name for name in _GREEK.split())
_FUNCTIONS = {
    "trigonometric": "sin cos tan cot sec csc",
    "inverse trigonometric": "arcsin arccos arctan",
    "hyperbolic": "sinh cosh tanh",
    "logarithm": "ln log",
}
FUNCTIONS = {"\\" + name: family for family, names in _FUNCTIONS.items() for name in names.split()}
"""Functions, each with its family."""
_STRUCTURES = (
    "frac sqrt binom exp pi cdot times div le ge ne infty cup cap setminus in emptyset circ "
    "lvert rvert lfloor rfloor lceil rceil"
)
COMMANDS = GREEK | set(FUNCTIONS) | {"\\" + name for name in _STRUCTURES.split()}
_PLAIN_NAMES = frozenset(_FUNCTIONS["trigonometric"].split()) | frozenset(
    ["arcsin", "arccos", "arctan", "ln", "log", "exp", "sqrt", "pi", "theta", "alpha", "beta", "infty"]
)
_ENGLISH = "an as at be by do he if in is it my no of on or so to up us we"
NO_VARIABLES = frozenset(_ENGLISH.split())
_TRIPLES = ("abc", "pqr", "rst", "xyz")
_SPELLINGS = {
    "*": r"\cdot",
    r"\times": r"\cdot",
    r"\div": "/",
    "**": "^",
    "<=": r"\le",
    ">=": r"\ge",
    "!=": r"\ne",
    r"\lvert": "|",
    r"\rvert": "|",
    r"\vert": "|",
    r"\lbrace": r"\{",
    r"\rbrace": r"\}",
    r"\lt": "<",
    r"\gt": ">",
}
_TOKEN = re.compile(
    r"(?P<begin>\\begin\s*\{(?:[pb]?(?:small)?matrix|array)\}(?:\s*\{[clr| ]*\})?)|(?P<end>\\end\s*\{(?:[pb]?(?:small)?matrix|array)\})"
    r"|(?P<field>\\mathbb\s*(?:\{\s*[NZQRC]\s*\}|\s[NZQRC](?![A-Za-z])))|(?P<command>\\[A-Za-z]+)|(?P<row>\\\\)|(?P<brace>\\[{}])"
    r"|(?P<thousands>[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])(?:\.[0-9]+)?)|(?P<number>[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
    r"|(?P<letters>[A-Za-z]+)|(?P<sign>\*\*|<=|>=|!=|[-+*/^_()\[\]{}|=<>!,&'])|(?P<space>\s+)"
)
_PLAIN_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")


def symbols_of(text: str) -> list[str] | None:
    """Split a normalized text into symbols with unified spelling; None if one is unknown or the text is too long."""
    if not 0 < len(text) <= CHARS_MAX:
        return None
    symbols: list[str] = []
    place = brackets = braces = 0
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found and found.lastgroup == "thousands" and brackets:
            found = _PLAIN_NUMBER.match(text, place)  # (1,234) contains two numbers
        written = None if found is None else _written(found)
        if found is None or written is None:
            return None
        place = found.end()
        brackets += _opened(written, ("(", "[", r"\{"), (")", "]", r"\}"))
        braces += _opened(written, ("{",), ("}",))
        if brackets + braces > DEPTH_MAX:
            return None
        symbols += written
    return symbols


def is_number(symbol: str) -> bool:
    """Return True if a symbol is a number, such as `1.5` or `.5`."""
    return symbol[:1].isdigit() or (symbol[:1] == "." and len(symbol) > 1)


def _opened(symbols: list[str], begin: tuple[str, ...], end: tuple[str, ...]) -> int:
    return sum((symbol in begin) - (symbol in end) for symbol in symbols)


def _written(found: re.Match[str]) -> list[str] | None:
    token = found[0]
    match found.lastgroup:
        case "begin":
            return [r"\begin"]
        case "end":
            return [r"\end"]
        case "field":
            return [r"\mathbb " + re.sub(r"\\mathbb|[{}\s]", "", token)]
        case "command" | "brace":
            token = _SPELLINGS.get(token, token)
            known = not token.startswith("\\") or token in COMMANDS or token in (r"\{", r"\}")
            return [token] if known else None
        case "letters":
            return _letters(token)
        case "sign" | "row":
            return [_SPELLINGS.get(token, token)]
        case "space":
            return []
    return [token.replace(",", "")] if len(token) <= DIGITS_MAX else None


def _letters(token: str) -> list[str] | None:
    """Split letters into a function's name without backslash or a product of variables; None for a word.

    `AB` is not split: it may be a line, a word or a product of matrices, in all of which the order of letters matters.
    """
    if token in _PLAIN_NAMES:
        return ["\\" + token]
    product = len(token) == 1 or "".join(sorted(token)) in _TRIPLES
    product = product or (len(token) == 2 and not token.isupper() and token.lower() not in NO_VARIABLES)
    return list(token) if product else None
