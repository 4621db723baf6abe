"""Build the single script that Kaggle runs from an order and the sources of `stages`. The output is reproducible."""

import ast
import base64
import hashlib
import io
import json
import os
import re
import zipfile
import zlib
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path

import stages as stages_package
from stages.contract import Order
from stages.documents import ContractError, NewerFormat

SIZE_BYTES_MAX = 1_000_000
"""Kernel source size in bytes from which on Kaggle refuses a push."""
LINE_CHARS = 120
EPOCH = (1980, 1, 1, 0, 0, 0)
"""Timestamp of all zip entries, the earliest that zip supports. File times would make builds irreproducible."""
ORDER_LINE = re.compile(r"^ORDER = (.+?)\r?$", re.MULTILINE)


class TooLarge(ValueError):
    """The script exceeds Kaggle's size limit."""


def script(order: Order, *, stages: Path | None = None) -> str:
    """Return the kernel's source. `stages` is the folder of the package to embed, by default the imported one.

    Raises TooLarge.
    """
    sources = _own_bundle() if stages is None else bundle(stages)
    filled = _fill(
        Path(__file__).with_name("bootloader.py").read_text(encoding="utf-8"),
        ORDER=repr(order.to_json()),
        BUNDLE_SHA256=repr(hashlib.sha256(sources).hexdigest()),
        BUNDLE=_encoded(sources),
    )
    text = _head(order) + filled
    size_bytes = len(text.encode())
    if size_bytes >= SIZE_BYTES_MAX:
        raise TooLarge(
            f"the kernel of {order.slug} would have {size_bytes:,} bytes and Kaggle takes less than {SIZE_BYTES_MAX:,}; "
            f"the sources of its stages are {len(sources):,} of them, packed"
        )
    return text


def order_in(source: str) -> Order | None:
    """Return the order that a kernel was built from, or None for a source that `script` did not build.

    Raises NewerFormat if a newer relay built it.
    """
    line = ORDER_LINE.search(source)
    if line is None:
        return None
    try:
        text = ast.literal_eval(line[1])
        return Order.from_json(text) if isinstance(text, str) else None
    except NewerFormat:
        raise
    except (ContractError, ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # see `ast.literal_eval`
        return None


def bundle(package: Path) -> bytes:
    """Return a package's files as one compressed archive. Equal files give equal bytes, regardless of file times."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(_files(package)):
            entry = zipfile.ZipInfo(f"stages/{path}", EPOCH)
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, (package / path).read_bytes())
    return zlib.compress(buffer.getvalue(), level=9)


@cache
def _own_bundle() -> bytes:
    """Return the imported package's bundle, cached from the first push: an upgrade on disk must not mix into it."""
    return bundle(Path(stages_package.__path__[0]))


def _files(package: Path, below: str = "") -> Iterator[str]:
    with os.scandir(package / below) as entries:
        for entry in entries:
            path = f"{below}{entry.name}"
            if not _ships(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _files(package, f"{path}/")
            elif entry.is_file():
                yield path


def _ships(name: str) -> bool:
    return name != "__pycache__" and not name.startswith(".") and not name.endswith((".pyc", ".pyo", "~"))


def _head(order: Order) -> str:
    title = json.dumps(f"{order.run}, session {order.session}, attempt {order.attempt}")
    return (
        f"# relay: {title}\n"
        "#\n"
        "# This kernel was pushed by relay and does what ORDER below says, with the sources of relay's package `stages`\n"
        "# that are packed in BUNDLE. It writes /kaggle/working/relay: checkpoints, each with a manifest, and a report.\n"
    )


def _fill(template: str, **blanks: str) -> str:
    for name, value in blanks.items():
        blank = f'\n{name} = ""\n'
        assert template.count(blank) == 1, f"the bootloader has no blank for {name}"
        template = template.replace(blank, f"\n{name} = {value}\n")
    return template


@lru_cache(maxsize=4)
def _encoded(sources: bytes) -> str:
    text = base64.b85encode(sources).decode()
    lines = [text[start : start + LINE_CHARS] for start in range(0, len(text), LINE_CHARS)]
    return '"""\n' + "\n".join(lines) + '\n"""'
