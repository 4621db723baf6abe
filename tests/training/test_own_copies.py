"""A copy of the user's own is read in whatever layout it has, before all else, in every session, and the run is held to its rows."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from stages.data import RunData, Source, open_source
from stages.data.mounted import STAND_IN_MARK, Brought
from stages.data.pins import Pins
from stages.stage import StageFailed
from stages.training.stage_data import summary

FLAT, DEEP, OUTPUT = "{slug}", "datasets/me/{slug}", "notebooks/me/{slug}"
FUNCTION, TIMES = "Write function number {}.", "Multiply by {}."
TASKS = (1, 10, 11, 300, 510, 511, 600, 601, 602, 974)
Files = Mapping[str, bytes]


def mbpp(text: str, tasks: Sequence[int] = TASKS) -> bytes:
    """Rows as the authors' one file has them: all splits together."""
    rows = [
        {
            "text": text.format(number),
            "code": f"def f{number}(x):\n    return x + {number}",
            "task_id": number,
            "test_setup_code": "",
            "test_list": [f"assert f{number}({x}) == {x + number}" for x in (1, 2, 3)],
            "challenge_test_list": [],
        }
        for number in tasks
    ]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def gsm8k(first: int, count: int = 5) -> bytes:
    rows = [{"question": f"{n} + 1 = ?", "answer": f"so\n#### {n + 1}"} for n in range(first, first + count)]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


OWN = {"mbpp.jsonl": mbpp(FUNCTION)}
MADE_UP = {
    STAND_IN_MARK: b"made up",
    "mbpp/full/train.jsonl": mbpp(TIMES, (601, 602)),
    "mbpp/full/test.jsonl": mbpp(TIMES, (11,)),
    "gsm8k/main/train.jsonl": gsm8k(900),
    "gsm8k/main/test.jsonl": gsm8k(950),
}
MINE = {"mine_train.jsonl": gsm8k(0), "mine_test.jsonl": gsm8k(50)}
NAMED = {"gsm8k/train.jsonl": gsm8k(100), "gsm8k/test.jsonl": gsm8k(150)}


def mount(inputs: Path, *things: tuple[str, str, Files]) -> Path:
    for layout, slug, files in things:
        for name, data in files.items():
            path = inputs / layout.format(slug=slug) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    return inputs


def brought(files: Files, *datasets: str, alone: frozenset[str] = frozenset()) -> Brought:
    return Brought({name: hashlib.sha256(data).hexdigest() for name, data in files.items()}, datasets, alone)


def opened(name: str, inputs: Path, own: Brought, pins: Pins | None = None) -> Source:
    run = RunData(own, pins or Pins(), "sft")
    return open_source([name], inputs, seed=0, wants=lambda example: "", scratch=inputs.parent / "scratch", run=run)


def refusal(name: str, inputs: Path, own: Brought) -> StageFailed:
    with pytest.raises(StageFailed) as failed:
        opened(name, inputs, own)
    return failed.value


def again(pins: Pins) -> Pins:
    """What the next session has of them, from the checkpoint."""
    recalled = Pins()
    recalled.recall(json.loads(json.dumps(pins.described())))
    return recalled


def questions(source: Source) -> tuple[set[str], set[str]]:
    train, held_out = ({e.question.splitlines()[0] for e in part} for part in (source.train, source.held_out))
    return train, held_out


def test_the_users_own_mbpp_in_one_file_is_read_split_by_number_and_pinned_in_every_layout(tmp_path: Path) -> None:
    pins, rows = Pins(), []
    for number, (own_at, other_at) in enumerate(((FLAT, OUTPUT), (DEEP, FLAT), (DEEP, DEEP))):
        inputs = mount(
            tmp_path / str(number) / "input",
            (own_at, "zz-inputs", OWN),
            (FLAT, "a-stand-in-sets", MADE_UP),
            (other_at, "a-mbpp", {"mbpp.parquet": b"never opened"}),
        )
        pins = again(pins)
        source = opened("mbpp", inputs, brought(OWN), pins)
        assert source.origins == {"mbpp": "the pipeline's inputs.files"}
        assert questions(source) == (
            {FUNCTION.format(n) for n in (601, 602, 974)},
            {FUNCTION.format(n) for n in (11, 300, 510)},
        )
        assert not pins.stand_ins
        rows.append((source, pins.described()))
    assert rows[0] == rows[1] == rows[2]
    assert pins.known["mbpp train"].rows == pins.known["mbpp held out"].rows == 3

    changed = {"mbpp.jsonl": OWN["mbpp.jsonl"].replace(b"return x + 974", b"return 974 + x")}
    with pytest.raises(StageFailed, match="mbpp train is no longer what this run began with") as failed:
        opened("mbpp", mount(tmp_path / "changed" / "input", (FLAT, "inputs", changed)), brought(changed), again(pins))
    assert failed.value.cause == "data-changed"


def test_the_same_rows_in_another_format_are_the_same_data(tmp_path: Path) -> None:
    """As where a dataset was published anew as a list; only the rows are what a run learns from."""
    pins = Pins()
    lines = OWN["mbpp.jsonl"].splitlines()
    listed = {"all.json": b"[" + b",\n".join(lines) + b"]"}
    opened("mbpp", mount(tmp_path / "one" / "input", (FLAT, "inputs", OWN)), brought(OWN), pins)
    source = opened("mbpp", mount(tmp_path / "two" / "input", (DEEP, "mine", listed)), brought({}, "me/mine"), pins)
    assert source.origins == {"mbpp": "mine of inputs.datasets"}
    assert source.notes == ("the mounted mine is mbpp by its columns, though not by its name",)


@pytest.mark.parametrize("at", [FLAT, DEEP])
def test_what_the_pipeline_brings_without_a_name_comes_after_what_it_names_and_before_all_else(
    tmp_path: Path, at: str
) -> None:
    made_up, other = (FLAT, "a-stand-in-sets", MADE_UP), (OUTPUT, "gsm8k-elsewhere", NAMED)
    few = mount(tmp_path / "few" / "input", (at, "run-inputs", MINE), made_up, other)
    source = opened("gsm8k", few, brought(MINE))
    assert source.origins == {"gsm8k": "the pipeline's inputs.files"}
    assert summary(["gsm8k"], source).endswith(
        "; gsm8k from the pipeline's inputs.files; what inputs.files has (mine_train.jsonl, mine_test.jsonl) is gsm8k by its "
        "columns, though not by its name"
    )
    assert {e.answer for e in source.train} == {"1", "2", "3", "4", "5"}

    all_of_it = mount(tmp_path / "all" / "input", (at, "run-inputs", MINE), made_up, (at, "gsm8k-mine", NAMED))
    source = opened("gsm8k", all_of_it, brought(MINE, "me/gsm8k-mine"))
    assert source.origins == {"gsm8k": "gsm8k-mine of inputs.datasets"}


@pytest.mark.parametrize(
    ("own", "said"),
    [
        (brought(OWN), "data: mbpp.jsonl of the pipeline's inputs, for mbpp, is not mounted"),
        (brought({"all.jsonl": b""}), "data: all.jsonl of the pipeline's inputs, where mbpp may be, is not mounted"),
        (brought({}, "me/poems"), "data: me/poems of the pipeline's inputs, where mbpp may be, is not mounted"),
    ],
    ids=["a file of the set's name", "a file", "a dataset"],
)
def test_nothing_is_read_instead_of_what_the_pipeline_brings_and_kaggle_did_not_mount(
    tmp_path: Path, own: Brought, said: str
) -> None:
    failed = refusal("mbpp", mount(tmp_path / "input", (FLAT, "sets", MADE_UP)), own)
    remedy = "relay tries again; if it stays so, look whether Kaggle still has it"
    assert (failed.cause, failed.transient, failed.reason) == ("data-missing", True, f"{said}: {remedy}")


def test_a_listed_checkpoint_is_mounted_and_a_text_is_not_waited_for(tmp_path: Path) -> None:
    checkpoint = {"manifest.json": b"{}", "train.jsonl": gsm8k(0), "test.jsonl": gsm8k(50)}
    inputs = mount(tmp_path / "input", (FLAT, "sets", MADE_UP), (DEEP, "gsm8k-c0001", checkpoint))
    source = opened("gsm8k", inputs, brought({"notes.txt": b""}, "me/gsm8k-c0001"))
    assert source.origins == {"gsm8k": "STAND-IN DATA, made up for rehearsals"}


@pytest.mark.parametrize(
    ("name", "file", "data", "why"),
    [
        ("gsm8k", "gsm8k.jsonl", gsm8k(0), "cannot be used (none of its .jsonl files is called train)"),
        (
            "mbpp",
            "mbpp.jsonl",
            mbpp(FUNCTION, (1, 601)),
            "is another set (its files name no split, and not every split has a task_id",
        ),
    ],
)
def test_an_own_file_of_the_sets_name_and_rows_that_is_no_whole_copy_is_refused(
    tmp_path: Path, name: str, file: str, data: bytes, why: str
) -> None:
    inputs = mount(tmp_path / "input", (DEEP, "inputs", {file: data}), (FLAT, "sets", MADE_UP))
    failed = refusal(name, inputs, brought({file: data}))
    assert (failed.cause, failed.transient) == ("bad-data", False)
    assert failed.reason.startswith(f"data: {file} of inputs.files is called after {name} and {why}")


def test_an_own_file_that_only_bears_the_sets_name_or_is_read_by_itself_is_no_half_of_it(tmp_path: Path) -> None:
    alone: dict[str, Any] = {"gsm8k_train.jsonl": b'{"prompt": "?", "answer": "1"}\n'}
    other = {"gsm8k-places.json": b'[{"place": 1}]'}
    inputs = mount(tmp_path / "input", (FLAT, "inputs", {**alone, **other}), (FLAT, "sets", MADE_UP))
    source = opened("gsm8k", inputs, brought({**alone, **other}, alone=frozenset(alone)))
    assert (source.origins, source.notes) == ({"gsm8k": "STAND-IN DATA, made up for rehearsals"}, ())


def test_of_copies_that_nobody_lists_or_names_the_content_decides_and_not_the_path(tmp_path: Path) -> None:
    one = {"train.jsonl": gsm8k(0), "test.jsonl": gsm8k(50)}
    other = {"train.jsonl": gsm8k(100), "test.jsonl": gsm8k(150)}
    deep = {f"unpacked/{name}": data for name, data in one.items()}
    ways = (
        ((FLAT, "a-sums", one), (DEEP, "b-sums", other)),
        ((DEEP, "b-sums", one), (FLAT, "a-sums", other)),
        ((OUTPUT, "c-sums", deep), (FLAT, "d-sums", other)),
    )
    sources = [opened("gsm8k", mount(tmp_path / str(n) / "input", *way), Brought()) for n, way in enumerate(ways)]
    assert sources[0].train == sources[1].train == sources[2].train


OTHER_COLUMNS = b'{"problem": "1 + 1?", "solution": "2"}\n'
AS_CSV = b'question,answer\n"1 + 1 = ?","so\n#### 2"\n'


@pytest.mark.parametrize(
    "elsewhere", [(FLAT, "sets", MADE_UP), (OUTPUT, "gsm8k-elsewhere", NAMED)], ids=["stand-in", "other"]
)
@pytest.mark.parametrize(
    ("name", "files", "slug", "said"),
    [
        ("gsm8k", {"train.jsonl": gsm8k(0)}, "gsm8k-mine", "have no split called test"),
        ("gsm8k", {"gsm8k.csv": AS_CSV}, "gsm8k-mine", "none of its .csv files is called train"),
        ("gsm8k", {"data.csv": b"problem,solution\n1,2\n"}, "gsm8k-mine", "none of its .csv files is called train"),
        ("gsm8k", {"train.jsonl": OTHER_COLUMNS, "test.jsonl": OTHER_COLUMNS}, "gsm8k-mine", "is another set (it has no"),
        ("gsm8k", {"train.json": b'[{"problem": "1 + 1?"}]'}, "gsm8k-mine", "have no split called test"),
        ("gsm8k", {"train.jsonl": gsm8k(0)}, "my-maths", "have no split called test"),
        ("mbpp", {"mbpp.jsonl.gz": b"packed"}, "mine", "mbpp.jsonl.gz is .gz, which relay does not read: unpack it"),
        ("mbpp", {"all.jsonl": mbpp(FUNCTION, (1, 601))}, "mine", "not every split has a task_id"),
        ("gsm8k", {"mine_train.jsonl": gsm8k(0)}, "", "have no split called test"),
        ("gsm8k", {"questions.jsonl": gsm8k(0)}, "", "none of its .jsonl files is called train"),
        ("gsm8k", {"gsm8k.csv": b"problem,solution\n1,2\n"}, "", "none of its .csv files is called train"),
        ("gsm8k", {"gsm8k.jsonl.gz": b"packed"}, "", "gsm8k.jsonl.gz is .gz, which relay does not read: unpack it"),
        ("gsm8k", {"gsm8k.xlsx": b"packed"}, "", "is .xlsx, which relay does not read: save it as .jsonl or .csv"),
    ],
)  # fmt: skip
def test_the_users_own_copy_that_cannot_be_used_never_gives_way_to_other_rows(
    tmp_path: Path, elsewhere: tuple[str, str, Files], name: str, files: Files, slug: str, said: str
) -> None:
    inputs = mount(tmp_path / "input", (DEEP, slug or "run-inputs", files), elsewhere, (FLAT, "sets", MADE_UP))
    failed = refusal(name, inputs, brought({}, f"me/{slug}") if slug else brought(files))
    assert (failed.cause, failed.transient) == ("bad-data", False)
    assert said in failed.reason
    assert f"of inputs.{'datasets' if slug else 'files'} " in failed.reason
    assert failed.reason.endswith(
        (": mend it, or give it another name", f", or leave it out of inputs.{'datasets' if slug else 'files'}")
    )


def test_an_own_copy_that_is_not_whole_gives_way_to_another_of_the_users_own(tmp_path: Path) -> None:
    half = {"questions.jsonl": gsm8k(0)}
    inputs = mount(tmp_path / "input", (DEEP, "run-inputs", half), (DEEP, "gsm8k-mine", NAMED), (FLAT, "sets", MADE_UP))
    source = opened("gsm8k", inputs, brought(half, "me/gsm8k-mine"))
    assert source.origins == {"gsm8k": "gsm8k-mine of inputs.datasets"}


def test_a_model_that_is_called_after_a_set_is_no_copy_of_it(tmp_path: Path) -> None:
    model = {"adapter_config.json": b'{"r": 8}', "tokenizer.json": b"{}", "adapter.safetensors": b""}
    inputs = mount(tmp_path / "input", (DEEP, "gsm8k-lora", model), (FLAT, "sets", MADE_UP))
    source = opened("gsm8k", inputs, brought({}, "me/gsm8k-lora"))
    assert (source.origins, source.notes) == ({"gsm8k": "STAND-IN DATA, made up for rehearsals"}, ())


def test_a_copy_with_other_columns_is_told_where_another_one_is_read(tmp_path: Path) -> None:
    other = {"gsm8k/train.jsonl": OTHER_COLUMNS, "gsm8k/test.jsonl": OTHER_COLUMNS}
    source = opened("gsm8k", mount(tmp_path / "input", (OUTPUT, "one", other), (FLAT, "sets", MADE_UP)), Brought())
    assert source.notes == ("the mounted one/gsm8k is another set (it has no columns question and answer)",)


def test_an_own_file_that_is_mounted_with_another_content_is_not_said_to_be_absent(tmp_path: Path) -> None:
    inputs = mount(tmp_path / "input", (FLAT, "run-inputs", {"mbpp.jsonl": mbpp(TIMES)}), (FLAT, "sets", MADE_UP))
    failed = refusal("mbpp", inputs, brought(OWN))
    assert (failed.cause, failed.transient) == ("data-missing", True)
    assert "mbpp.jsonl of the pipeline's inputs, for mbpp, is mounted only with another content" in failed.reason
    assert "begin a new run" in failed.reason


@pytest.mark.parametrize(
    ("mounted", "said"),
    [
        ({}, "look whether Kaggle still has it"),
        ({"mine.jsonl": b"{}"}, "begin a new run, which publishes it anew"),
    ],
    ids=["absent", "another content"],
)
def test_a_problem_file_that_is_not_there_as_it_was_is_told_with_a_remedy(
    tmp_path: Path, mounted: Files, said: str
) -> None:
    inputs = mount(tmp_path / "input", (FLAT, "run-inputs", mounted), (FLAT, "sets", MADE_UP))
    failed = refusal("mine.jsonl", inputs, brought({"mine.jsonl": b"[]"}))
    assert (failed.cause, failed.transient) == ("data-missing", True)
    assert failed.reason.endswith(f"relay tries again; if it stays so, {said}")
