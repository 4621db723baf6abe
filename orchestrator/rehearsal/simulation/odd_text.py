"""Odd text in simulated chains: in logs, reports, failure messages and declined pushes. It must not stop a chain."""

import json
import random
from dataclasses import dataclass, replace

from orchestrator.base.errors import Refused
from orchestrator.kaggle.responses import MESSAGE_CHARS_MAX
from orchestrator.platforms.port import KernelPush, KernelPushed, SessionSeen, Worker
from orchestrator.rehearsal.local_kaggle.direct_gateway import DirectGateway
from orchestrator.rehearsal.local_kaggle.sandbox import Played
from stages.contract import PROGRESS_PREFIX, REPORT_SEAL_NAME, Order, Progress, seal_of
from stages.safe_text import DEPTH_MAX, read_json

SESSIONS = 6
"""Highest number of a session that odd text may hit, so that later ones are normal."""
PUSHES = 8

TEXTS = (
    "half \ud83d of a character",
    "the wrong way round \ude42\ud83d",
    "nothing\0at all",
    "\x1b]0;owned\x07\x1b[2J\x9b31m\u202ebackwards\u2066",
    "long " + "x" * 100_000,
    "lines \r\n\u2028\x85\x0b\x0c of many kinds",
    "{" * 2_000,
    "",
)
NUMBERS = ("NaN", "-Infinity", "1e999", "9" * 5_000, str(2**64), "1e300", "-1e300", "null", '"\\ud800"')
WHERE = ("log", "report", "message", "push")


@dataclass(frozen=True)
class Oddity:
    """Piece of odd text, in the `nth` session or at the `nth` push."""

    where: str
    nth: int
    text: str
    number: str
    depth: int


@dataclass(frozen=True)
class Oddities:
    """All odd text of one chain."""

    all: tuple[Oddity, ...] = ()

    @classmethod
    def random(cls, seed: int) -> "Oddities":
        """Draw the odd text of a seed. It uses its own generator, so that the seed's other draws stay the same."""
        rng = random.Random(f"relay simulates {seed}: odd text")
        if rng.random() < 0.6:
            return cls()
        count = rng.randint(1, 4)
        return cls(tuple(_random_oddities(rng) for _ in range(count)))

    def of(self, where: str, nth: int) -> list[Oddity]:
        """Return those that hit the n-th session or push."""
        return [odd for odd in self.all if (odd.where, odd.nth) == (where, nth)]

    def play(self, order: Order, played: Played, index: int) -> Played:
        """Return the index-th session with the odd text in its log and its report."""
        for odd in self.of("log", index):
            played = replace(played, lines=[*played.lines, *_odd_lines(odd, order, played.ends_after_s)])
        # only one per report: an odd report can no longer be parsed to add another
        for odd in self.of("report", index)[:1]:
            played = replace(played, files=[_odd_file(odd, file, played) for file in played.files])
        return played


NOTHING_ODD = Oddities()


def _random_oddities(rng: random.Random) -> Oddity:
    where = rng.choice(WHERE)
    return Oddity(
        where=where,
        nth=rng.randint(1, PUSHES if where == "push" else SESSIONS),
        text=rng.choice(TEXTS),
        number=rng.choice(NUMBERS),
        depth=rng.choice((0, 1, DEPTH_MAX + 1, 900, 3_000)),
    )


def _odd_lines(odd: Oddity, order: Order, ends_after_s: float) -> list[tuple[float, str]]:
    """Return plain log lines, and lines that look like progress events until they are parsed."""
    step = Progress(
        number=0, event="step", at_s=1.0, stage=order.start.stage, step=order.start.step, note="NOTE"
    ).line()
    told = [
        odd.text,
        f"{PROGRESS_PREFIX}{odd.text}",
        step.replace('"at_s":1.0', f'"at_s":{odd.number}'),
        step.replace(f'"step":{order.start.step}', f'"step":{odd.number}'),
        step.replace('"metrics":{}', f'"metrics":{{"loss":{odd.number}}}'),
        step.replace('"note":"NOTE"', f'"note":{json.dumps(odd.text)},"more":{_deep(odd.depth)}'),
    ]
    return [(ends_after_s * (place + 1) / (len(told) + 2), line) for place, line in enumerate(told)]


def _odd_file(odd: Oddity, file: tuple[float, str, bytes], played: Played) -> tuple[float, str, bytes]:
    """Return the report with odd values and the matching seal; other files are unchanged."""
    at_s, name, data = file
    if name.endswith("/report.json"):
        return at_s, name, _odd_report(odd, data)
    if name.endswith(f"/{REPORT_SEAL_NAME}"):
        report = [other for _, path, other in played.files if path.endswith("/report.json")]
        return at_s, name, seal_of(_odd_report(odd, report[-1])) if report else data
    return file


def _odd_report(odd: Oddity, data: bytes) -> bytes:
    text = json.dumps(json.loads(data) | {"reason": odd.text, "traceback": odd.text * 3})
    return (text[:-1] + f',"seconds":{{"training_step":{odd.number}}},"more":{_deep(odd.depth)}}}').encode()


def _deep(levels: int) -> str:
    return "[" * levels + "0" + "]" * levels


class OddlyWorded(DirectGateway):
    """Gateway of a Kaggle that words some answers oddly. The text passes through the client's own JSON parsing."""

    def __init__(self, inner: DirectGateway, oddities: Oddities) -> None:
        super().__init__(inner._world, inner._redact)
        self._oddities = oddities
        self._pushes = 0

    def session(self, slug: str, version: int | None) -> SessionSeen:
        seen = super().session(slug, version)
        odd = next(iter(self._oddities.of("message", _number(slug))), None)
        if odd is None or seen.worker not in (Worker.ERROR, Worker.CANCEL_ACKNOWLEDGED):
            return seen
        self._world.fault_injector.struck.append("odd message")
        return replace(seen, message=_read(odd, seen.message))

    def push(self, kernel: KernelPush) -> KernelPushed:
        self._pushes += 1
        odd = next(iter(self._oddities.of("push", self._pushes)), None)
        if odd is None:
            return super().push(kernel)
        self._world.fault_injector.struck.append("odd refusal of a push")
        raise Refused(f"Kaggle declined to run {kernel.slug}: {_read(odd, '')}")


def _number(slug: str) -> int:
    return int(slug.rpartition("-s")[2][:4])


def _read(odd: Oddity, message: str) -> str:
    return str(read_json(json.dumps(f"{message} {odd.text}"), left_out=True))[:MESSAGE_CHARS_MAX]
