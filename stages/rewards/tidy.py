"""Takes off an answer what is around its value: delimiters, boxes, bold type, a lead-in, spaces, variants of a sign.

Every rule looks at the whole text, never for something inside it, so nothing is found by luck. Standard library only.
"""

import re

CHARS_MAX = 400
WRAPPERS = (
    ("$$", "$$"),
    ("$", "$"),
    (r"\(", r"\)"),
    (r"\[", r"\]"),
    ("**", "**"),
    (r"\boxed{", "}"),
    (r"\fbox{", "}"),
    (r"\text{", "}"),
    (r"\mathrm{", "}"),
    (r"\mathbf{", "}"),
    (r"\displaystyle", ""),
)
LEAD_IN = re.compile(
    r"(?:(?:so|thus|therefore|hence),?\s+)?(?:the|my|our)?\s*(?:final|correct)?\s*(?:answer|result|solution|total)"
    r"\s*(?:is|:|=|equals)\s*:?\s*|=\s*",
    re.IGNORECASE,
)
SIGNS = str.maketrans(
    {
        "−": "-",
        "–": "-",
        "×": r"\times ",
        "·": r"\cdot ",
        "÷": r"\div ",
        "π": r"\pi ",
        "∞": r"\infty ",
        "≤": r"\le ",
        "≥": r"\ge ",
        "≠": r"\ne ",
        "±": r"\pm ",
        "∪": r"\cup ",
        "∩": r"\cap ",
        "∈": r"\in ",
        "°": r"^\circ ",
        "½": " 1/2",
        "⅓": " 1/3",
        "⅔": " 2/3",
        "¼": " 1/4",
        "¾": " 3/4",
        "⅕": " 1/5",
        "⅛": " 1/8",
        "²": "^2",
        "³": "^3",
        "\u00a0": " ",
        "\u2009": r"\,",
        "\u202f": r"\,",
    }
)
REWRITTEN = (
    (re.compile(r"(?<=\d)(?:\\,|\{,\}|\\!,|,\\!)(?=\d{3}(?!\d))"), ","),  # 1\,234 and 1{,}234
    (re.compile(r"(?<!\\)\\[,;:!> ]|~|\\q?quad\b"), " "),
    (re.compile(r"\\(?:left|right|big|Big|bigg|Bigg)(?![A-Za-z])"), ""),
    (re.compile(r"\\[dtc]frac(?![A-Za-z])"), r"\\frac"),
    (re.compile(r"\\frac\s*(\d)\s*(\d)"), r"\\frac{\1}{\2}"),
    (re.compile(r"\\(?:text|mathrm|textbf|mbox|operatorname)\s*\{([A-Za-z .%]*)\}"), r" \1 "),
    (re.compile(r"\\([%$])"), r"\1"),
    (re.compile(r"\^\s*\{\s*\\circ\s*\}"), r"^\\circ "),
    (re.compile(r"\\leq(?![A-Za-z])"), r"\\le"),
    (re.compile(r"\\geq(?![A-Za-z])"), r"\\ge"),
    (re.compile(r"\\neq(?![A-Za-z])"), r"\\ne"),
    (re.compile(r"\\varnothing|\\\{\s*\\\}"), r"\\emptyset"),
    (re.compile(r"\s+"), " "),
)


def tidy(text: str) -> str | None:
    """The text without its wrapping; None where it is too long, blank, or has characters that no answer has."""
    if len(text) > CHARS_MAX or any(_is_strange(char) for char in text):
        return None
    text = _unwrapped(text.strip())
    text = text.translate(SIGNS)
    for pattern, replacement in REWRITTEN:
        text = pattern.sub(replacement, text)
    return _unwrapped(text.strip()) or None


def whole_group(text: str, opening: int) -> bool:
    """Whether the bracket that is opened at `opening` is closed by the text's last character."""
    depth = 0
    for place in range(opening, len(text)):
        depth += (text[place] in "({[") - (text[place] in ")}]")
        if depth == 0:
            return place == len(text) - 1
    return False


def _is_strange(char: str) -> bool:
    """Controls, and digits that are not 0 to 9: `\\d` and `int` take them, people rarely mean them."""
    return (ord(char) < 32 and char not in "\n\t\r") or (char.isdecimal() and not char.isascii())


def _unwrapped(text: str) -> str:
    for _ in range(8):
        before = text
        text = _without_lead_in(text)
        if text.endswith(".") and not text.endswith(".."):
            text = text[:-1].rstrip()
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
    if begin.endswith("{"):
        return inside.strip() if whole_group(text, len(begin) - 1) else text
    alone = begin not in inside and (not end or end not in inside)
    money = begin == "$" and inside.endswith("\\")
    return inside.strip() if alone and not money else text
