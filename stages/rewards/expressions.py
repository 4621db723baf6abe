"""Which texts are mathematics that SymPy may be asked about, and how they are written for it.

Only what consists of known symbols from its first to its last character gets there: no sentence, no Python, no name of a
function that does something else than mathematics, no tower of brackets. Standard library only.
"""

import re

CHARS_MAX = 200
DIGITS_MAX = 20
DEPTH_MAX = 8
"""The parser of math-verify takes twice as long for every level of round brackets."""

_GREEK = (
    "alpha beta gamma delta epsilon varepsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau phi varphi chi psi omega "
    "Gamma Delta Theta Lambda Sigma Phi Psi Omega"
)
_SIGNS = (
    r"frac sqrt pi cdot times div pm mp infty le ge lt gt ne cup cap in setminus emptyset varnothing mathbb circ overline "
    r"begin end lvert rvert vert mid"
)
_WORK = (
    "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh ln log exp binom lfloor rfloor lceil rceil max min gcd lcm "
    "int sum prod lim det"
)
WORK = frozenset(_WORK.split())
"""What is still to be worked out. Where the wanted answer has none of it, `\\sin 30^\\circ` only repeats the question."""
COMMANDS = frozenset((_GREEK + " " + _SIGNS).split()) | WORK
MATRICES = frozenset({"matrix", "pmatrix", "bmatrix", "vmatrix"})
_ENGLISH = "an as at be by do he if in is it my no of on or so to up us we"
NO_VARIABLES = frozenset(_ENGLISH.split())
_WITHOUT_LATEX = "sin cos tan cot sec csc arcsin arccos arctan ln log exp sqrt pi theta alpha beta infty"
_PLAIN_NAMES = frozenset(_WITHOUT_LATEX.split())
_TOKEN = re.compile(
    r"(?P<command>\\[A-Za-z]+)|(?P<brace>\\[{}|])|(?P<row>\\\\)|(?P<number>[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
    r"|(?P<letters>[A-Za-z]+)|(?P<sign>\*\*|[-+*/^_()\[\]{}|=<>!,:&'%])|(?P<space> +)"
)


def latex_of(text: str) -> str | None:
    """A tidy text as LaTeX, or None where it is no mathematics that may be judged."""
    if not 0 < len(text) <= CHARS_MAX or _depth(text) > DEPTH_MAX:
        return None
    written, place = [], 0
    while place < len(text):
        found = _TOKEN.match(text, place)
        word = None if found is None else _written(found)
        if found is None or word is None:
            return None
        written.append(word)
        place = found.end()
    return _with_braces("".join(written))


def left_to_do(text: str) -> frozenset[str]:
    """Names of the functions whose value the text leaves to the reader; a factorial is `!`."""
    names = frozenset(re.findall(r"[A-Za-z]+", text)) & WORK
    return names | {"!"} if re.search(r"!(?!=)", text) else names


def _written(found: re.Match[str]) -> str | None:
    token = found[0]
    match found.lastgroup:
        case "command":
            before_letters = found.string[found.end() : found.end() + 1].isalpha()
            return None if token[1:] not in COMMANDS else f"{token} " if before_letters else token
        case "number":
            return token if len(token) <= DIGITS_MAX else None
        case "letters":
            if token in _PLAIN_NAMES:
                return f"\\{token} "
            return token if token in MATRICES or (len(token) <= 2 and token not in NO_VARIABLES) else None
        case "sign":
            return {"**": "^", "*": r"\cdot ", "%": r"\%"}.get(token, token)
    return token


def _with_braces(text: str) -> str:
    r"""`x^12` as `x^{12}`, `sqrt(2)` as `\sqrt{2}`, `x^(1/2)` as `x^{1/2}`."""
    text = re.sub(r"([\^_])\s*([+-]?[0-9]+(?:\.[0-9]+)?)", r"\1{\2}", text)
    for opener in (r"\sqrt (", r"\sqrt(", "^("):
        begin = text.find(opener)
        while begin >= 0:
            opening = begin + len(opener) - 1
            closing = _closing(text, opening)
            if closing is None:
                return text
            text = f"{text[:opening]}{{{text[opening + 1 : closing]}}}{text[closing + 1 :]}"
            begin = text.find(opener)
    return text


def _closing(text: str, opening: int) -> int | None:
    depth = 0
    for place in range(opening, len(text)):
        depth += (text[place] == "(") - (text[place] == ")")
        if depth == 0:
            return place
    return None


def _depth(text: str) -> int:
    deepest = depth = 0
    for char in text:
        depth += (char in "({[") - (char in ")}]")
        deepest = max(deepest, depth)
    return deepest
