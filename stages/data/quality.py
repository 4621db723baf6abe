"""What speaks against learning from an answer: its score, its language, or that it is a refusal."""

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
"""Frequent words of some languages; those of the others are rare in English."""
_ENGLISH = frozenset(_FREQUENT["English"].split())
_OTHER = frozenset(word for words in _FREQUENT.values() for word in words.split()) - _ENGLISH

OPENING = 200
"""Characters of an answer in which it would say that it is an AI."""
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
    """Why a stage with these options does not learn from such an example, in a few words; empty where nothing speaks against it."""
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
    """Whether a text is in English, guessed from its letters and its most frequent words.

    It is not where letters of other scripts, and frequent words of Spanish, Portuguese, French, Italian, German and Dutch, together
    outnumber frequent English words; a Greek letter that stands alone is a variable. Other languages in Latin letters pass.
    A task in English about a text in another script ("Translate this Hindi sentence") does not, unless that text is short:
    most of what has to be read or written is not English.
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
    """Whether an answer begins with a refusal, or says within its first 200 characters that it is an AI's."""
    opening = " ".join(answer[: 2 * OPENING].casefold().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").split())[
        :OPENING
    ]
    return _REFUSES.match(opening) is not None or _SPEAKS_AS_AI.search(opening) is not None
