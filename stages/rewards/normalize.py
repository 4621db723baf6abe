"""Normalize an answer: remove delimiters, boxes, fonts, lead-ins and spaces, and unify variants of signs.

Nothing that could change the value is removed, and nothing is searched for: the whole remaining text has to be an
answer. Standard library only.
"""

import re
import unicodedata
from collections.abc import Callable

CHARS_MAX = 400
WRAPPERS = (
    ("$$", "$$"),
    ("$", "$"),
    (r"\(", r"\)"),
    (r"\[", r"\]"),
    ("**", "**"),
    ("__", "__"),
    ("*", "*"),
    ("_", "_"),
    ('"', '"'),
    ("\u201c", "\u201d"),
    ("'", "'"),
    ("```", "```"),
    ("`", "`"),
    ("{", "}"),
    (r"\displaystyle", ""),
    (r"\boxed ", ""),
)
"""Delimiters (begin, end) that may enclose a whole answer."""
LEAD_IN = re.compile(
    r"(?:(?:so|thus|therefore|hence),?\s+)?(?:the|my|our)?\s*(?:final|correct)?\s*(?:answer|result|solution|total)"
    r"\s*(?:is|:|=|equals)\s*:?\s*|=\s*|####\s*",
    re.IGNORECASE,
)
STYLES = [
    "boxed",
    "fbox",
    "text",
    "textbf",
    "textit",
    "textrm",
    "textnormal",
    "textsf",
    "texttt",
    "emph",
    "mathrm",
    "mathbf",
    "mathit",
    "mathsf",
    "mathtt",
    "mbox",
    "operatorname",
    "ensuremath",
    "rm",
    "bf",
]
"""LaTeX commands that only change the appearance of their argument or mark it as text."""
_OLD_STYLE = re.compile(r"\{\s*\\(?:rm|bf)(?![A-Za-z])\s*([^{}]*)\}")
"""Font switch within braces, as in `{\\rm cm}`, which LaTeX has from plain TeX."""
_STYLED = re.compile(r"\\(?:" + "|".join(STYLES) + r")\s*(?=\{)")
SIGNS = {
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212\ufe63\uff0d", "-"),
    **dict.fromkeys("\u200b\u2060\ufeff", ""),
    **dict.fromkeys(
        "\u00a0\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u2000\u2001\u205f\u3000", r"\,"
    ),
    "×": r"\times ",
    "·": r"\cdot ",
    "⋅": r"\cdot ",
    "÷": r"\div ",
    "⁄": "/",
    "∕": "/",
    "π": r"\pi ",
    "θ": r"\theta ",
    "√": r"\sqrt ",
    "∞": r"\infty ",
    "≤": r"\le ",
    "≥": r"\ge ",
    "≠": r"\ne ",
    "±": r"\pm ",
    "∓": r"\mp ",
    "∪": r"\cup ",
    "∩": r"\cap ",
    "∈": r"\in ",
    "∅": r"\emptyset ",
    "ℝ": r"\mathbb{R}",
    "ℤ": r"\mathbb{Z}",
    "°": r"^\circ ",
    "º": r"^\circ ",
    "′": "'",
    "’": "'",
    "％": "%",
}
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
_LOWERED = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_SPACE = r"(?:\{,\}|,\s*(?:\\!\s*)+|\\!,|(?:\\[,;:> ]|~)+| )"
_GROUPED = re.compile(
    rf"(?<![\d.,^_/}}])(?<!\d )[1-9][0-9]{{0,2}}(?:{_SPACE}[0-9]{{3}})+(?!{_SPACE}?\d|,\d|\s*[/^_!]|\s*\\frac)"
)
r"""Pattern for numbers with thousands grouped by any kind of space: `1 234`, `1\,234`, `1{,}234`, not `3\,125/128`."""
REWRITTEN: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (re.compile(r"(?<![\\$])\$(?!\$)((?:\\.|[^$\\])+)\$(?!\s*\d|\$)"), r" \1 "),  # $18$ dollars
    (re.compile(r"(?<!\\)\\\(((?:(?!\\[()]).)+)\\\)", re.DOTALL), r" \1 "),
    (re.compile(r"(?<!`)`([^`]+)`(?!`)"), r" \1 "),
    (re.compile(r"(?<!\S)\*\*(?=\S)([^*]*[^\s*])\*\*(?![^\s.,;:])"), r" \1 "),
    (_GROUPED, lambda found: "".join(re.findall("[0-9]", found[0]))),
    (re.compile(r"(?<!\\)\\[,;:!> ]|~|\\q?quad\b"), " "),
    (re.compile(r"\\(?:left|right|[bB]igg?[lr]?)(?![A-Za-z])"), ""),
    (re.compile(r"\\[dtc]frac(?![A-Za-z])"), r"\\frac"),
    (re.compile(r"\\[dt]binom(?![A-Za-z])"), r"\\binom"),
    (re.compile(r"(\\frac|\\binom)\s*([0-9A-Za-z])"), r"\1{\2}"),
    (re.compile(r"((?:\\frac|\\binom)\s*\{[^{}]*\})\s*([0-9A-Za-z])"), r"\1{\2}"),
    (re.compile(r"\\(?:rm|bf)(?![A-Za-z])"), " "),
    (re.compile(r"\\lg(?![A-Za-z])"), r"\\log_{10}"),
    (re.compile(r"(?<=[\d.])\\(?:bar|dot)\s*\{?\s*(\d+)\s*\}?"), r"\\overline{\1}"),
    (re.compile(r"\\([%$#&])"), r"\1"),
    (re.compile(r"\^\s*\{\s*\\circ\s*\}|\^\s*\\circ(?![A-Za-z])|\\degree(?![A-Za-z])"), r"^\\circ "),
    (re.compile(r"\^\\circ\s*([CF])(?![A-Za-z])"), r" deg\1 "),
    (re.compile(r"\\(le|ge|ne)q(?:slant)?(?![A-Za-z])"), r"\\\1"),
    (re.compile(r"\\varnothing|\\\{\s*\\\}"), r"\\emptyset"),
    (re.compile(r"\\lbrace(?![A-Za-z])"), r"\\{"),
    (re.compile(r"\\rbrace(?![A-Za-z])"), r"\\}"),
    (re.compile(r"\s+"), " "),
    (re.compile(r"\{ ?([^{}\\]+)\\choose(?![A-Za-z])([^{}\\]+)\}"), r"\\binom{\1}{\2}"),
    (re.compile(r"^([^{}\\]+)\\choose(?![A-Za-z])([^{}\\]+)$"), r"\\binom{\1}{\2}"),
)
PHRASES = {
    "all real numbers": r"\mathbb{R}",
    "all reals": r"\mathbb{R}",
    "no solutions": "no solution",
    "the empty set": r"\emptyset",
    "empty set": r"\emptyset",
}


def tidy(text: str) -> str | None:
    """Return the normalized text; None if it is too long, blank, or has invalid characters."""
    if len(text) > CHARS_MAX or any(_is_strange(char) for char in text):
        return None
    text = _OLD_STYLE.sub(r"\\rm{\1}", text.strip())
    text = _unwrapped(_without_styles(text))
    text = _spelled(text)
    for pattern, replacement in REWRITTEN:
        text = pattern.sub(replacement, text)
    text = _unwrapped(text.strip())
    return PHRASES.get(text.lower(), text) or None


def whole_group(text: str, opening: int) -> bool:
    """Return True if the bracket opened at `opening` is closed by the text's last character."""
    return _closing(text, opening) == len(text) - 1


def _closing(text: str, opening: int) -> int | None:
    depth = 0
    for place in range(opening, len(text)):
        depth += (text[place] in "({[") - (text[place] in ")}]")
        if depth == 0:
            return place
    return None


def _is_strange(char: str) -> bool:
    """Return True for control characters and non-ASCII digits, which `\\d` and `int` would accept."""
    return (ord(char) < 32 and char not in "\n\t\r") or (char.isdecimal() and not char.isascii())


def _spelled(text: str) -> str:
    """Convert Unicode signs, fractions such as ½, superscripts, subscripts and roots to ASCII and LaTeX."""
    text = re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻]+", lambda run: f"^{{{run[0].translate(_RAISED)}}}", text)
    text = re.sub("[₀₁₂₃₄₅₆₇₈₉]+", lambda run: f"_{{{run[0].translate(_LOWERED)}}}", text)
    text = re.sub(r"√\s*([0-9]+(?:\.[0-9]+)?)", r"\\sqrt{\1}", text)
    return "".join(char if char.isascii() else SIGNS.get(char, _fraction(char)) for char in text)


def _fraction(char: str) -> str:
    form, _, parts = unicodedata.decomposition(char).partition(" ")
    if form != "<fraction>":
        return char
    above, _, below = "".join(chr(int(part, 16)) for part in parts.split()).partition("⁄")
    return f" {above}/{below}"


def _without_styles(text: str) -> str:
    """Replace each `\\text{…}` and similar by its content, with a space on either side to keep words apart."""
    found = _STYLED.search(text)
    while found:
        closing = _closing(text, found.end())
        if closing is None:
            return text
        text = f"{text[: found.start()]} {text[found.end() + 1 : closing]} {text[closing + 1 :]}"
        found = _STYLED.search(text, found.start())
    return text.strip()


def _unwrapped(text: str) -> str:
    for _ in range(8):
        before = text
        text = _without_lead_in(text)
        if text.endswith(".") and not text.endswith(".."):
            text = text[:-1].rstrip()
        text = text.removesuffix(r"\\").rstrip()
        for begin, end in WRAPPERS:
            text = _without(text, begin, end)
        if text == before:
            break
    return text


def _without_lead_in(text: str) -> str:
    found = LEAD_IN.match(text)
    return text[found.end() :] if found and found.end() < len(text) else text


def _without(text: str, begin: str, end: str) -> str:
    if not (text.startswith(begin) and text.endswith(end)) or len(text) <= len(begin) + len(end):
        return text
    inside = text[len(begin) : len(text) - len(end)]
    if begin == "{":
        one = whole_group(text, 0) and not re.search(r"[,;]", inside)  # {1, 2} is a set
        return inside.strip() if one else text
    plain = inside.replace(r"\$", "") if "$" in begin else inside
    alone = begin not in plain and (not end or end not in plain)
    money = "$" in begin and inside.endswith("\\")
    return inside.strip() if alone and not money else text
