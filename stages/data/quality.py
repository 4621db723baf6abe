"""Quality filters for training examples: score, language and refusals."""

import math
import re
import unicodedata

from stages.data.examples import Quality
from stages.options import Filtered

_WORD = re.compile(r"[^\W\d_]+")
_FREQUENT = {
    "English": "the of to and a an in is are was it its that this these for with you your i my me we they from not have has be as"
    " on at by or if do does did can could will would should how what which who why when where write give make any all no",
    "Spanish": "el los las una unos que para con por como del su sus es está y mi cómo qué",
    "Portuguese": "os uma não com dos das você é são eu em",
    "French": "le les des une est dans pour avec sur et du au qui pas je vous ce cette",
    "Italian": "il che di per della gli è sono nel delle",
    "German": "der das und nicht ist ein eine mit für auf von zu den dem ich wie sie",
    "Dutch": "het een van niet voor naar zijn wordt deze",
}
"""Frequent words by language. Those of the other languages are rare in English."""
_ENGLISH = frozenset(_FREQUENT["English"].split())
_OTHER = frozenset(word for words in _FREQUENT.values() for word in words.split()) - _ENGLISH

OPENING = 200
"""Number of characters at the beginning of an answer that are searched for a mention of being an AI."""
_SPEAKS_AS_AI = re.compile(
    r"\bas an (?:ai|artificial intelligence)\b|\bas a (?:large )?language model\b|\bas a responsible (?:and ethical )?(?:ai|digital)\b"
    r"|\bi(?: a|')m (?:just |only )?an? (?:ai|artificial intelligence|(?:large )?language model)\b"
)
_REFUSES = re.compile(
    r"(?:i(?: a|')m (?:very |so )?sorry|sorry|i (?:do )?apologi[sz]e|my apologies|unfortunately)\b[^.!?\n]{0,30}?[,;.]? ?(?:but )?i\b"
    r"|i (?:cannot|can not|can't|could not|couldn't|won't|will not|am unable to|am not able to)\b"
    r"|i'm (?:unable|not able) to\b"
)


def unwanted(quality: Quality, options: Filtered) -> str:
    """Return a short reason why a stage with these options leaves the example out; empty if it is kept."""
    if options.english_only and not quality.english:
        return "not in English"
    if options.drop_refusals and quality.refuses:
        return "refuses, or speaks as an AI"
    return _lacks(quality.score, options.min_score, "score") or _lacks(quality.margin, options.min_margin, "margin")


def _lacks(value: float | None, least: float, name: str) -> str:
    if value is None or not least:
        return ""
    if math.isnan(value):
        return f"no {name}"
    return f"{name} below {least:g}" if value < least else ""


def is_english(text: str) -> bool:
    """Guess from letters and frequent words whether a text is in English.

    A text is not English if letters of other scripts plus frequent words of Spanish, Portuguese, French, Italian,
    German and Dutch outnumber frequent English words. A single Greek letter counts as a variable. Other languages in
    Latin script pass as English. An English task about a text in another script ("Translate this Hindi sentence") does
    not, unless that text is short: most of what has to be read or written is not English.
    """
    words = _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
    english = sum(word in _ENGLISH for word in words)
    return sum(_foreign(word) for word in words) <= english


def _foreign(word: str) -> int:
    if word in _OTHER:
        return 1
    if word.isascii() or (len(word) == 1 and unicodedata.name(word, "").startswith("GREEK")):
        return 0
    return sum(not letter.isascii() and not unicodedata.name(letter, "").startswith("LATIN") for letter in word)


def is_refusal(answer: str) -> bool:
    """Return True if an answer begins with a refusal or mentions being an AI within its first 200 characters."""
    opening = " ".join(answer[: 2 * OPENING].casefold().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").split())[
        :OPENING
    ]
    return _REFUSES.match(opening) is not None or _SPEAKS_AS_AI.search(opening) is not None
