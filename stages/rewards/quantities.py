"""Parse numbers with units by a fixed grammar, exactly and without evaluating anything.

`7+12`, `3!` and `\\sqrt{4}` are expressions here, not numbers. Standard library only.
"""

import re
from dataclasses import dataclass
from fractions import Fraction

CHARS_MAX = 120
EXPONENT_MAX = 400
_WHOLE = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)"
_DECIMAL = rf"(?:{_WHOLE}(?:\.[0-9]+)?|\.[0-9]+)"
_SIGNED = rf"[+-]?\s*{_DECIMAL}"
_POWER = r"10\s*\^\s*(?:\{\s*(?P<braced>[+-]?\s*[0-9]{1,4})\s*\}|\(\s*(?P<round>[+-]?\s*[0-9]{1,4})\s*\)|(?P<bare>[+-]?[0-9]{1,4}))"
_CORE = (
    rf"(?:(?P<mixed>[0-9]+)(?:\s+|\s*(?=\\frac)))?(?:\\frac\s*\{{\s*(?P<above>{_SIGNED})\s*\}}\s*\{{\s*(?P<below>{_SIGNED})\s*\}}"
    rf"|(?P<top>{_DECIMAL})\s*/\s*(?P<bottom>{_DECIMAL}))"
    r"|(?P<before>[0-9]*)\.(?P<fixed>[0-9]*)\\overline\s*\{\s*(?P<repeated>[0-9]{1,20})\s*\}"
    rf"|(?P<scaled>{_DECIMAL})\s*(?:\\times|\\cdot|\*|x)\s*{_POWER}"
    rf"|{_POWER.replace('?P<', '?P<pure_')}"
    rf"|(?P<decimal>{_DECIMAL})(?:[eE](?P<exponent>[+-]?[0-9]{{1,4}}))?"
)
_MONEY = r"US\$|USD|EUR|GBP|Rs\.?|[$€£¥₹]"
_NUMBER = re.compile(
    rf"(?P<sign>[+-]?)\s*(?P<money>{_MONEY})?\s*(?P<inner>[+-]?)\s*(?:{_CORE})\s*(?P<rest>(?![0-9.,]).*)", re.DOTALL
)
_NAME = re.compile(r"(?P<name>(?:[A-Za-z]|\\[a-z]{2,7})(?:_\{?[A-Za-z0-9]{1,3}\}?)?|[A-Za-z]{3,20})\s*=\s*")
_WORDS = re.compile(r"(?:(?:[A-Za-z][A-Za-z'-]*\.?|/)(?:\s+|$|(?=/)|(?<=/)))+")

_SIZES: dict[str, dict[str, Fraction]] = {
    "length": {
        "mm millimeter millimetre": Fraction(1, 1000),
        "cm centimeter centimetre": Fraction(1, 100),
        "m meter metre": Fraction(1),
        "km kilometer kilometre": Fraction(1000),
        "in inch inches": Fraction(254, 10000),
        "ft foot feet": Fraction(3048, 10000),
        "yd yard": Fraction(9144, 10000),
        "mi mile": Fraction(1609344, 1000),
    },
    "mass": {
        "mg milligram": Fraction(1, 1000),
        "g gram gm": Fraction(1),
        "kg kilogram": Fraction(1000),
        "oz ounce": Fraction(28349523125, 10**9),
        "lb lbs": Fraction(45359237, 10**5),
    },
    "time": {
        "s sec second": Fraction(1),
        "min minute": Fraction(60),
        "h hr hour": Fraction(3600),
        "day": Fraction(86400),
        "week wk": Fraction(604800),
    },
    "age": {"month": Fraction(1), "year yr": Fraction(12)},
    "volume": {"ml milliliter millilitre": Fraction(1, 1000), "l liter litre": Fraction(1)},
    "dollars": {"$ us$ usd dollar buck": Fraction(1), "cent ¢": Fraction(1, 100)},
    "euros": {"€ eur euro": Fraction(1)},
    "pounds": {"£ gbp pound": Fraction(1)},
    "yen": {"¥ yen": Fraction(1)},
    "rupees": {"₹ rs rupee": Fraction(1)},
    "degrees": {r"^\circ deg degree": Fraction(1)},
    "celsius": {"degc celsius": Fraction(1)},
    "fahrenheit": {"degf fahrenheit": Fraction(1)},
}
_UNITS = {
    name: (kind, size) for kind, sizes in _SIZES.items() for names, size in sizes.items() for name in names.split()
}
KINDS = frozenset(_SIZES)
_SHORT = {name: names.split()[0] for sizes in _SIZES.values() for names in sizes for name in names.split()}
_SPEEDS = {"mph": "mi/h", "kmh": "km/h", "kph": "km/h", "kmph": "km/h"}
_LARGE = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_IN_ALL = re.compile(
    r"(?:^|\s+)(?:(?:in )?total|in all|altogether|each|left(?: ?over)?|remaining|more)$", re.IGNORECASE
)
_MODIFIERS = (
    # Words that change a number, express doubt about it, or name a second one.
    "or and not no nor plus minus times over by to divided multiplied equals is are was were be than then but if maybe perhaps "
    "less fewer under below above beyond off short without except excluding excluded besides before unless never none neither "
    "yes always sometimes versus whereas unsure uncertain doubtful rounded increased decreased reduced discounted approximation "
    "cannot about around approximately approx roughly nearly almost ish so guess guessed estimate estimated estimation likely "
    "probably possibly supposedly wrong incorrect false untrue fake invalid unknown undefined negative positive opposite "
    "inverse reciprocal imaginary squared cubed square root power modulo modulus mod remainder half halves third quarter "
    "fourth fifth sixth seventh eighth ninth tenth eleventh twelfth twentieth hundredth thousandth millionth billionth double "
    "triple quadruple quintuple twice thrice doubled tripled halved dozen pair couple score gross net hundred thousand million "
    "billion trillion lakh lac crore grand kilo mega giga milli micro nano mil bil myriad googol zero one two three four "
    "five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty thirty "
    "forty fifty sixty seventy eighty ninety percent percentage permille pct basis bps binary hex hexadecimal octal radix sqrt sin cos tan "
    "log exp alpha beta gamma delta theta lambda sigma omega phi psi pi tau mu nu rho inf infinity infty factorial choose"
)
_NO_NAMES = frozenset(_MODIFIERS.split())
_NOT_UNITS = _NO_NAMES | {"base", "maximum", "minimum", "max", "most", "least"}
"""Words that are not units. Includes words that are names before a number (`base = 5`) but modify it after (`5
base`)."""
_AMOUNTS = frozenset(["M", "MM", "K", "B", "T"])
"""Abbreviations of large numbers, which are no units: `5 M` is five million, `5 m` are five metres."""
_COUNTED = (
    # Nouns that are counted without a plural s.
    "people teeth geese mice sheep deer oxen dice cattle aircraft shrimp trout offspring fruit candy chocolate money change "
    "profit discount silver gold yuan won baht rand hertz kelvin gal tsp tbsp kwh rpm psi kpa cal kcal khz mhz ghz kbps mbps gbps ohm amp"
)
_COUNTED_WORDS = frozenset(_COUNTED.split())


@dataclass(frozen=True)
class Quantity:
    """A number with its unit and name."""

    value: Fraction
    unit: str = ""
    """Kind of unit, such as `length`; the words themselves for an unknown unit; empty without a unit."""
    size: Fraction = Fraction(1)
    """Size of the unit in the base unit of its kind."""
    percent: bool = False
    """True for a percentage; `value` is then the number as written, not divided by a hundred."""
    name: str = ""
    """Name on the left side, such as `x` in `x = 5`."""

    @property
    def share(self) -> Fraction:
        """Numerical value: `value`, divided by a hundred for a percentage."""
        return self.value / 100 if self.percent else self.value


def read_quantity(text: str) -> Quantity | None:
    """Parse a normalized text as one quantity; None if it is not one."""
    if len(text) > CHARS_MAX:
        return None
    name = _NAME.match(text)
    text = text[name.end() :] if name and name["name"].lower() not in _NO_NAMES else text
    if len(text) > 2 and text[0] == "(" and text[-1] == ")" and "(" not in text[1:] and "," not in text:
        text = text[1:-1].strip()
    found = _NUMBER.fullmatch(text)
    if found is None or (found["sign"] and found["inner"]):
        return None
    value = _value(found)
    if value is None:
        return None
    value = -value if "-" in (found["sign"], found["inner"]) else value
    rest = found["rest"]
    glued = re.match(r"[A-Za-z]{1,3}(?![A-Za-z])", rest) if not text[: found.start("rest")].endswith(" ") else None
    if glued and (len(glued[0]) == 1 or _singular(glued[0]) not in _UNITS):
        return None  # `5m` and `5xyz` are algebra, `5 m` and `5cm` are lengths
    return _with_unit(value, found["money"] or "", rest.strip(), name["name"] if name else "")


def equal_quantities(given: Quantity, wanted: Quantity) -> bool:
    """Return True if a quantity equals the wanted one. A unit or name that only one of them has is ignored."""
    if given.name and wanted.name and given.name != wanted.name:
        return False
    if given.percent or wanted.percent:
        return _equal_percent(given, wanted)
    if given.unit and wanted.unit:
        return given.unit == wanted.unit and given.value * given.size == wanted.value * wanted.size
    return given.value == wanted.value


def _equal_percent(given: Quantity, wanted: Quantity) -> bool:
    """Compare percentages: 50% equals 0.5. If only one has a % sign, 50% also equals 50, but 0.5% is not 0.5."""
    if given.unit or wanted.unit:
        return False
    as_unit = given.percent != wanted.percent and given.value == wanted.value and abs(wanted.value) > 1
    return as_unit or given.share == wanted.share


def _value(found: re.Match[str]) -> Fraction | None:
    """Return the absolute value of the number."""
    if found["above"] or found["top"]:
        return _fraction(found)
    if found["repeated"]:
        before, fixed, repeated = found["before"] or "0", found["fixed"], found["repeated"]
        rest = Fraction(int(repeated), 10 ** len(fixed) * (10 ** len(repeated) - 1))
        return Fraction(f"{before}.{fixed or '0'}") + rest
    if found["scaled"]:
        return _scaled(_decimal(found["scaled"]), found["braced"] or found["round"] or found["bare"])
    power = found["pure_braced"] or found["pure_round"] or found["pure_bare"]
    if power:
        return _scaled(Fraction(1), power)
    return _scaled(_decimal(found["decimal"]), found["exponent"] or "0")


def _fraction(found: re.Match[str]) -> Fraction | None:
    above, below = _decimal(found["above"] or found["top"]), _decimal(found["below"] or found["bottom"])
    if below == 0:
        return None
    if not found["mixed"]:
        return above / below
    proper = 0 <= above < below and above.denominator == below.denominator == 1
    return int(found["mixed"]) + above / below if proper else None


def _scaled(value: Fraction, exponent: str) -> Fraction | None:
    power = int(exponent.replace(" ", ""))
    return value * Fraction(10) ** power if abs(power) <= EXPONENT_MAX else None


def _decimal(text: str) -> Fraction:
    return Fraction(text.replace(",", "").replace(" ", ""))


def _with_unit(value: Fraction, money: str, rest: str, name: str) -> Quantity | None:
    rest = _IN_ALL.sub("", rest)
    if re.fullmatch(r"%|percent|per cent|pct\.?", rest, re.IGNORECASE):
        return None if money else Quantity(value, percent=True, name=name)
    word, _, after = rest.partition(" ")
    if word.lower() in _LARGE:
        value, rest = value * _LARGE[word.lower()], after.strip()
    if money:
        kind, size = _UNITS[money.lower().rstrip(".")]
        # "$18 dollars" repeats the unit. Any other unit is a second one, unless it follows "per", as in "$18 per hour".
        if re.match(r"per\b|/", rest):
            rest = f"{kind.removesuffix('s')} {rest}"
        else:
            return (
                Quantity(value, kind, size, name=name)
                if not rest or _UNITS.get(_singular(rest)) == (kind, size)
                else None
            )
    if not rest:
        return Quantity(value, name=name)
    unit = unit_of(rest, singular=abs(value) <= 1)
    return Quantity(value, *unit, name=name) if unit else None


def unit_of(text: str, *, singular: bool = False) -> tuple[str, Fraction] | None:
    """Return kind and size of a unit. Unknown words are a unit of their own if they can be something counted.

    `singular` allows an unknown unit without a plural, for amounts up to one.
    """
    text = re.sub(r"\s*\^\s*\{?\s*([23])\s*\}?$", r"^\1", text)
    for word, sign in (("squared", "^2"), ("cubed", "^3")):
        text = re.sub(rf"(?<=[A-Za-z]) {word}$", sign, text)
    if not _AMOUNTS.isdisjoint(text.split()):
        return None
    known = _UNITS.get(text) or _UNITS.get(_singular(text))
    if known:
        return known
    if rate := re.fullmatch(r"([A-Za-z. ]+(?:/| per )\s*[A-Za-z]+)\^([23])", text):  # m/s^2
        units = _words(rate[1], singular)
        return units and (f"{units[0]}^{rate[2]}", units[1])
    return _power_of_length(text) or _words(_SPEEDS.get(text.lower(), text), singular)


def _power_of_length(text: str) -> tuple[str, Fraction] | None:
    """Return kind and size of an area or a volume, such as `square feet` or `cm^3`."""
    power = re.fullmatch(
        r"(?:(?P<word>square|cubic|sq\.?|cu\.?)\s+)?(?P<unit>[A-Za-z]+)\.?(?:\^?(?P<power>[23]))?", text
    )
    if power is None or not (power["word"] or power["power"]):
        return None
    degree = int(power["power"] or (2 if power["word"].startswith("s") else 3))
    kind, size = _UNITS.get(_singular(power["unit"]), ("", Fraction(1)))
    if kind != "length" and _singular(power["unit"]) != "unit":
        return None
    return f"{kind or 'unit'}^{degree}", size**degree


def _words(text: str, singular: bool) -> tuple[str, Fraction] | None:
    """Return an unknown unit. Countable nouns cannot be listed, but have a plural: `apples`, not `lakh` or `hex`."""
    if text.lower() == "times":  # a count; with a following word it would be a multiplication
        return "time", Fraction(1)
    written = [word.lower().rstrip(".") for word in re.split(r"[\s/]+", text) if word]
    words = [_singular(word) for word in written]
    if not _WORDS.fullmatch(text) or not 0 < len(words) <= 4 or any(map(_modifies_number, written)):
        return None
    if words[:2] == ["per", "cent"] or any(len(word) < 3 and word not in _UNITS and word != "of" for word in words):
        return None
    counted = re.split(r"\s*(?:/|\bper\b|(?<=\s)of\b)", text.lower())[0].split()
    if counted and not singular and not any(_is_counted(word.rstrip(".")) for word in counted):
        return None
    return " ".join(_SHORT.get(word, word) for word in words if word != "per"), Fraction(1)


def _modifies_number(word: str) -> bool:
    """Return True if a word modifies the number: as written (`minus`), without s, or after a hyphen (`half-dozen`)."""
    last = word.rpartition("-")[2]
    forms = {
        word,
        last,
        word.removesuffix("s"),
        last.removesuffix("s"),
        last[:-2] if last.endswith(("sses", "xes")) else last,
    }
    return word.endswith("n't") or not _NOT_UNITS.isdisjoint(forms)


def _is_counted(word: str) -> bool:
    plural = (
        len(word) > 2 and word.endswith(("s", "men", "children", "fish", "feet")) and not word.endswith(("ss", "us"))
    )
    return plural or word in _COUNTED_WORDS or word in _UNITS


def _singular(word: str) -> str:
    word = word.lower().rstrip(".")
    return word[:-1] if len(word) > 3 and word.endswith("s") and word not in ("inches",) else word
