"""Parts of a run's page that need no browser: cards, links to Kaggle, transcripts page by page, the week's quota."""

import pytest

from orchestrator.views.history.kaggle_links import kaggle_links
from orchestrator.views.pages.cards import with_cards

HEAD = '<thead><tr><th scope="col">Step</th><th scope="col" class="number">Loss<br><span>a &lt; b</span></th></tr></thead>'
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


def test_links_lead_to_what_exists_on_kaggle_and_to_nothing_else() -> None:
    run = {
        "owner": "me",
        "checkpoints": [{"name": "a-s0001", "dataset": "me/a-s0001-ckpt"}, {"name": "a-s0002", "dataset": None}],
        "models": [{"model": "me/mine/jax/a"}],
        "sessions": [
            {"slug": "a-s0001", "kernel_version": 1, "checkpoint": "a-s0001"},
            {"slug": "a-s0002", "kernel_version": 1, "checkpoint": "a-s0002"},
            {"slug": "a-s0003", "kernel_version": None, "checkpoint": None},
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
    }
    assert kaggle_links(run, {"model": {"source": "/a/local/folder"}})["models"] == found["models"][2:]


@pytest.mark.parametrize("source", ["", "./weights", None, "a/b"])
def test_a_model_that_is_not_kaggles_has_no_link(source: str | None) -> None:
    run = {"owner": "me", "checkpoints": [], "models": [], "sessions": []}
    assert kaggle_links(run, {"model": {"source": source}})["models"] == []
