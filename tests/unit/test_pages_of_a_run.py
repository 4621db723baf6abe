"""Parts of a run's page that need no browser: cards, links to Kaggle, transcripts page by page, the week's quota."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.views.artifact_list import artifact_list, artifact_paths
from orchestrator.views.history.kaggle_links import kaggle_links
from orchestrator.views.history.quota_week import quota_week
from orchestrator.views.pages.cards import with_cards
from orchestrator.views.transcripts import LINE_BYTES_MAX, transcript_page
from state.model.snapshot import QuotaRow
from tests.unit.histories import Told, artifact, row
from tests.unit.test_history import history

HEAD = (
    '<thead><tr><th scope="col">Step</th><th scope="col" class="number">Loss<br><span>a &lt; b</span></th></tr></thead>'
)
CARD_HEAD = (
    '<thead role="rowgroup"><tr role="row"><th scope="col" role="columnheader">Step</th>'
    '<th scope="col" class="number" role="columnheader">Loss<br><span>a &lt; b</span></th></tr></thead>'
)


@pytest.mark.parametrize(
    ("html", "cards"),
    [
        ("<p>no table: &lt;td&gt;</p>", "<p>no table: &lt;td&gt;</p>"),
        (
            f"<table>{HEAD}<tbody><tr><td>1</td><td class=\"number\">2</td></tr><tr><td>3</td></tr></tbody></table>",
            f'<table role="table">{CARD_HEAD}<tbody role="rowgroup"><tr role="row"><td role="cell" data-label="Step">1</td>'
            '<td class="number" role="cell" data-label="Loss a &lt; b">2</td></tr>'
            '<tr role="row"><td role="cell" data-label="Step">3</td></tr></tbody></table>',
        ),
        (
            f'<table>{HEAD}<tbody><tr><th scope="row">x</th><td>y</td><td>beyond</td></tr></tbody></table>',
            f'<table role="table">{CARD_HEAD}<tbody role="rowgroup"><tr role="row"><th scope="row" role="rowheader">x</th>'
            '<td role="cell" data-label="Loss a &lt; b">y</td><td role="cell">beyond</td></tr></tbody></table>',
        ),
    ],
)  # fmt: skip
def test_each_cell_of_a_table_carries_its_columns_title(html: str, cards: str) -> None:
    assert with_cards(html) == cards
    assert with_cards(cards) == cards, "a part that is rendered twice stays as it is"


ON_KAGGLE = {"platform": "kaggle", "owner": "me"}


def test_links_lead_to_what_exists_on_kaggle_and_to_nothing_else() -> None:
    run = {
        "owner": "me",
        "checkpoints": [
            {"name": "a-s0001", "platform": "kaggle", "dataset": "me/a-s0001-ckpt"},
            {"name": "a-s0002", "platform": "kaggle", "dataset": None},
            {"name": "a-s0004", "platform": "slurm", "dataset": "me@lab/a-s0004"},
        ],
        "models": [{"model": "me/mine/jax/a"}],
        "sessions": [
            {"slug": "a-s0001", **ON_KAGGLE, "kernel_version": 1, "checkpoint": "a-s0001"},
            {"slug": "a-s0002", **ON_KAGGLE, "kernel_version": 1, "checkpoint": "a-s0002"},
            {"slug": "a-s0003", **ON_KAGGLE, "kernel_version": None, "checkpoint": None},
            {"slug": "a-s0004", "platform": "slurm", "owner": "me@lab", "kernel_version": 1, "checkpoint": "a-s0004"},
        ],
    }
    pipeline = {"model": {"source": "google/gemma-2/flax/gemma2-2b/1"}, "inputs": {"models": ["x/y/jax/z/2"]}}
    found = kaggle_links(run, pipeline)
    site = "https://www.kaggle.com"
    assert [model["url"] for model in found["models"]] == [
        f"{site}/models/google/gemma-2/flax/gemma2-2b/1",
        f"{site}/models/x/y/jax/z/2",
        f"{site}/models/me/mine/jax/a",
    ]
    assert {slug: [link["url"] for link in links] for slug, links in found["sessions"].items()} == {
        "a-s0001": [f"{site}/code/me/a-s0001", f"{site}/datasets/me/a-s0001-ckpt"],
        "a-s0002": [f"{site}/code/me/a-s0002"],
        "a-s0003": [],
        "a-s0004": [],
    }
    assert kaggle_links(run, {"model": {"source": "/a/local/folder"}})["models"] == found["models"][2:]


@pytest.mark.parametrize("source", ["", "./weights", None, "a/b", "/a/b/c/d", "./a/b/c/d"])
def test_a_model_that_is_not_kaggles_has_no_link(source: str | None) -> None:
    run = {"owner": "me", "checkpoints": [], "models": [], "sessions": []}
    assert kaggle_links(run, {"model": {"source": source}})["models"] == []


# --- transcripts ------------------------------------------------------------------------

ANSWERS = [
    row("1", True),
    row("2", False, hard=True),
    row("3", True, disagree={"sympy": "wrong"}),
    row("4", False),
    row("5", False, hard=True, disagree={"sympy": "right"}),
]


def read(path: Path, show: str, rows_max: int) -> list[list[str]]:
    """The keys of all pages, each page begun where the one before it told."""
    pages, offset = [], 0
    while True:
        found = transcript_page(path, show, offset, rows_max)
        pages.append([str(answer["key"]) for answer in found.rows])
        if found.next_offset is None:
            return pages
        assert found.next_offset > offset
        offset = found.next_offset


@pytest.mark.parametrize(
    ("show", "rows_max", "pages"),
    [
        ("all", 2, [["1", "2"], ["3", "4"], ["5"]]),
        ("all", 5, [["1", "2", "3", "4", "5"]]),
        ("wrong", 2, [["2", "4"], ["5"]]),
        ("hard", 1, [["2"], ["5"]]),
        ("disagree", 20, [["3", "5"]]),
    ],
)
def test_transcripts_are_read_page_by_page_and_none_twice(
    tmp_path: Path, show: str, rows_max: int, pages: list[list[str]]
) -> None:
    path = tmp_path / "transcripts-a.jsonl"
    path.write_text(artifact(ANSWERS), encoding="utf-8")
    assert read(path, show, rows_max) == pages


def test_lines_that_are_no_answers_and_lines_without_an_end_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "transcripts-a.jsonl"
    long = json.dumps(row("long", True, answer="x" * 3 * LINE_BYTES_MAX))
    path.write_text(
        "\n".join(["[1]", "{", long, json.dumps(row("1", True)), json.dumps(row("2", True))]), encoding="utf-8"
    )
    assert read(path, "all", 1) == [["1"], ["2"]]
    size = path.stat().st_size
    for offset in (5, size - 3, size, size + 100):
        assert all(answer["key"] in ("1", "2") for answer in transcript_page(path, "all", offset).rows)


# --- artifacts --------------------------------------------------------------------------


def test_only_whole_files_of_the_folder_itself_are_offered(tmp_path: Path) -> None:
    folder = tmp_path / "artifacts"
    assert artifact_list(folder) == []
    folder.mkdir()
    (tmp_path / "secret").write_text("secret")
    (folder / "link.jsonl").symlink_to(tmp_path / "secret")
    (folder / "inner").mkdir()
    (folder / "half.part").write_text("1")
    (folder / "hard.jsonl").write_text("12")
    (folder / "transcripts-a.jsonl").write_text("123")
    assert [path.name for path in artifact_paths(folder)] == ["hard.jsonl", "transcripts-a.jsonl"]
    assert [tuple(found.values()) for found in artifact_list(folder)] == [
        ("hard.jsonl", 2, None),
        ("transcripts-a.jsonl", 3, "a"),
    ]


# --- the quota week ---------------------------------------------------------------------

MONDAY = datetime(2030, 1, 7, tzinfo=UTC)
HOUR_S = 3600.0


def quota(read_at: datetime = MONDAY + timedelta(days=2), total_s: float | None = 20 * HOUR_S) -> QuotaRow:
    return QuotaRow(
        owner="me",
        accelerator="tpu",
        used_s=8 * HOUR_S,
        reserved_s=HOUR_S,
        total_s=total_s,
        refreshes_at=MONDAY + timedelta(days=7),
        read_at=read_at,
    )


@pytest.mark.parametrize(
    ("row", "planned", "day", "hours"),
    [  # begin and end of planned sessions in hours from the week's beginning; used, reserved, planned, left
        (quota(), [], 2, (8, 1, 0, 11)),
        (quota(), [(49, 54)], 2, (8, 1, 5, 11)),
        (quota(), [(40, 54), (166, 172)], 2, (8, 1, 7, 11)),
        (quota(), [(49, 90)], 2, (8, 1, 12, 11)),
        (quota(), [(193, 198)], 8, (0, 0, 5, 20)),
    ],
    ids=["nothing", "one session", "beyond now and the renewal", "more than is left", "renewed since it was read"],
)
def test_a_quota_week_tells_what_is_used_planned_and_left(
    row: QuotaRow, planned: list[tuple[int, int]], day: int, hours: tuple[float, ...]
) -> None:
    told = [[(MONDAY + timedelta(hours=at)).isoformat() for at in span] for span in planned]
    found = quota_week(row, [], {"planned": told}, MONDAY + timedelta(days=day, hours=1))
    assert found is not None
    assert tuple(found[f"{name}_s"] / HOUR_S for name in ("used", "reserved", "planned", "left")) == hours
    assert datetime.fromisoformat(found["renewed_at"]) == MONDAY + timedelta(days=7 * (day // 7 + 1))
    assert sum(each["planned_s"] for each in found["days"]) >= found["planned_s"]


def test_a_quota_week_divides_sessions_among_its_days_and_counts_nothing_outside_it() -> None:
    spans = [
        (MONDAY - timedelta(hours=5), MONDAY + timedelta(hours=2)),
        (MONDAY + timedelta(hours=23), MONDAY + timedelta(hours=26)),
        (MONDAY + timedelta(hours=50), MONDAY + timedelta(hours=49)),
        (MONDAY + timedelta(hours=60), MONDAY + timedelta(hours=90)),
    ]
    found = quota_week(quota(), spans, None, MONDAY + timedelta(hours=62))
    assert found is not None
    assert [day["used_s"] / HOUR_S for day in found["days"]] == [3, 2, 2, 0, 0, 0, 0]
    assert [day["past"] for day in found["days"]] == [True, True, False, False, False, False, False]
    assert [day["today"] for day in found["days"]].index(True) == 2


@pytest.mark.parametrize("row", [None, quota(total_s=None)])
def test_without_a_known_quota_there_is_no_week(row: QuotaRow | None) -> None:
    assert quota_week(row, [], None, MONDAY) is None


# --- durations --------------------------------------------------------------------------


@pytest.mark.parametrize("early_s", [0.0, 1.0, 40.0, 2 * 86_400.0])
def test_no_duration_is_negative_where_rows_are_newer_than_the_clock_that_was_read(
    tmp_path: Path, early_s: float
) -> None:
    told = Told()
    told.session(30)
    told.running()
    found = history(told, tmp_path, after_s=-early_s)
    seconds = [session["seconds"] for session in found["run"]["sessions"] if session["seconds"] is not None]
    seconds += [group["seconds"] for group in found["timeline"]["groups"]] + [found["timeline"]["seconds"]]
    seconds += [each["seconds"] for each in found["hours"]["classes"]] + [
        each["seconds"] for each in found["idle_time"]
    ]
    assert min(seconds) >= 0
    assert all(0 <= part["share"] <= 1 for line in found["timeline"]["rows"] for part in line["stretches"])
