"""The filters and orders of `kernels list`, `datasets list` and `models list` filter and order, or are refused."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.base.clock import SystemClock
from orchestrator.rehearsal.local_kaggle.datasets import Describe
from orchestrator.rehearsal.local_kaggle.kernel_records import Save
from orchestrator.rehearsal.local_kaggle.model_records import ModelText
from orchestrator.rehearsal.local_kaggle.stored_file import Content
from orchestrator.rehearsal.local_kaggle.world import World
from tests.contract.local import KERNELS, Client, running, until
from tests.contract.program import Program

pytestmark = pytest.mark.slow


KERNEL_LISTS = [
    ("-m", ["fourth-script", "third-script", "second-notebook", "first-script"]),
    ("", ["elsewhere", "second-notebook"]),
    ("--user bob", ["elsewhere"]),
    ("-m --search SCRIPT", ["fourth-script", "third-script", "first-script"]),
    ("-m --search nothing", []),
    ("-m --kernel-type notebook", ["second-notebook"]),
    ("-m --kernel-type script --search first", ["first-script"]),
    ("--language r", ["elsewhere"]),
    ("--language python", ["second-notebook"]),
    ("-m --language julia", []),
    ("-m --dataset rehearsal/alpha-rows", ["third-script"]),
    ("-m --dataset rehearsal/beta-rows", []),
    ("-m --competition titanic", []),
    ("-m --parent rehearsal/first-script", []),
    ("-m --output-type data", ["first-script"]),
    ("-m --sort-by dateRun --search script", ["first-script", "fourth-script", "third-script"]),
    ("-m --sort-by dateCreated", ["fourth-script", "third-script", "second-notebook", "first-script"]),
    ("-m --sort-by voteCount --page-size 1", ["fourth-script"]),
    ("-m --page-size 3 --page 2", ["first-script"]),
    ("-m --page-size 2 --page-token at-2", ["second-notebook", "first-script"]),
    ("-m --page 9", []),
]

DATASET_LISTS = [
    ("-m", ["gamma-model", "beta-rows", "alpha-rows"]),
    ("", ["delta-rows", "gamma-model", "beta-rows"]),
    ("--user bob", ["delta-rows"]),
    ("-m --search ROWS", ["beta-rows", "alpha-rows"]),
    ("-m --min-size 1000", ["gamma-model", "beta-rows"]),
    ("-m --max-size 1000", ["beta-rows", "alpha-rows"]),
    ("-m --min-size 11 --max-size 999", []),
    ("-m --file-type csv", ["alpha-rows"]),
    ("-m --file-type json", ["beta-rows"]),
    ("--file-type parquet", ["delta-rows"]),
    ("-m --file-type bigQuery", []),
    ("-m --license cc", ["alpha-rows"]),
    ("-m --license odb", ["beta-rows"]),
    ("-m --license gpl", ["gamma-model"]),
    ("--license other", ["delta-rows"]),
    ("-m --tags maths", ["beta-rows", "alpha-rows"]),
    ("-m --tags maths,tpu", ["beta-rows"]),
    ("-m --tags nobody", []),
    ("-m --sort-by updated", ["alpha-rows", "gamma-model", "beta-rows"]),
    ("-m --sort-by published", ["gamma-model", "beta-rows", "alpha-rows"]),
    ("-m --page 2", []),
]

MODEL_LISTS = [
    ("", ["other-model", "tuned-gemma", "gemma-2"]),
    ("--owner google", ["gemma-2"]),
    ("--search gemma", ["tuned-gemma", "gemma-2"]),
    ("--sort-by createTime", ["other-model", "tuned-gemma", "gemma-2"]),
    ("--sort-by downloadCount", ["other-model", "tuned-gemma", "gemma-2"]),
    ("--page-size 1", ["other-model"]),
    ("--page-size 2 --page-token at-2", ["gemma-2"]),
]

UNANSWERED = [
    "kernels list -m --output-type visualization",
    "kernels topics list rehearsal/first-script",
    "datasets topics list rehearsal/alpha-rows",
    "models topics list rehearsal/tuned-gemma",
    "competitions list",
    "competitions files titanic",
    "competitions download titanic",
    "competitions submissions titanic",
    "competitions leaderboard titanic --show",
    "forums list",
    "benchmarks tasks list",
]


@pytest.fixture(scope="module")
def kaggle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    root = tmp_path_factory.mktemp("lists")
    (root / "home").mkdir()
    with running(root / "root", SystemClock()) as client:
        furnish_datasets(client.kaggle.world)
        furnish_models(client.kaggle.world)
        furnish_kernels(client)
        yield Program(client, root / "home")


@pytest.fixture(scope="module")
def printed(kaggle: Program) -> dict[str, str]:
    """What each of the commands below printed."""
    tables = {"kernels": KERNEL_LISTS, "datasets": DATASET_LISTS, "models": MODEL_LISTS}
    lists = [asked(kind, arguments) for kind, table in tables.items() for arguments, _ in table]
    return kaggle.each([*lists, *UNANSWERED])


def asked(kind: str, arguments: str) -> str:
    return f"{kind} list --format json {arguments}".rstrip()


def furnish_datasets(world: World) -> None:
    """Three of one's own, `alpha-rows` the oldest, and one of bob's."""
    with world.at_now() as now:
        for owner, slug, licence, tags, size, name, private in [
            ("rehearsal", "alpha-rows", "CC0-1.0", ("maths",), 10, "rows.csv", True),
            ("rehearsal", "beta-rows", "ODC-BY-1.0", ("maths", "tpu"), 1_000, "rows.jsonl", False),
            ("rehearsal", "gamma-model", "GPL-2.0", (), 100_000, "state.bin", False),
            ("bob", "delta-rows", "MIT", (), 10, "rows.parquet", False),
        ]:
            about = Describe(title=slug.replace("-", " "), license_name=licence, keywords=tags, is_private=private)
            files = {name: Content.of_bytes(b"x" * size, now)}
            world.datasets.create(owner, slug, about, files, now)
        alpha = world.datasets.find("rehearsal", "alpha-rows")
        later = now + timedelta(seconds=5)
        world.datasets.add_version(alpha, alpha.versions[0].files, "newer", later)


def furnish_kernels(client: Client) -> None:
    """Four kernels of one's own, of which `first-script` ran last and only `first-script` left something."""
    notebook = json.dumps({"cells": [], "metadata": {"kernelspec": {"name": "python3"}}})
    client.push("first-script", "print('first')")
    client.push("second-notebook", notebook, kernelType="notebook", isPrivate=False)
    client.push("third-script", datasetDataSources=["rehearsal/alpha-rows"])
    client.push("fourth-script", "pass", kernelExecutionType="QUICK_SAVE")
    text = "import time, pathlib; time.sleep(0.1); pathlib.Path('out.txt').touch()"
    until(lambda: client.status("third-script").get("status") == "COMPLETE")
    until(lambda: client.status("second-notebook").get("status") == "COMPLETE")
    client.push("first-script", text)
    until(lambda: client.status("first-script", versionLabel="v2").get("status") == "COMPLETE")
    world = client.kaggle.world
    with world.at_now() as now:
        save = Save(slug="bob/elsewhere", text="", title="elsewhere", language="r", is_private=False, runs=False)
        world.kernels.save(save, now, {})


def furnish_models(world: World) -> None:
    world.offer_model("google/gemma-2/flax/2b/1", {})
    with world.at_now() as now:
        world.models.create("rehearsal", "tuned-gemma", ModelText(title="Tuned Gemma"), now)
        world.models.create("rehearsal", "other-model", ModelText(title="Other"), now + timedelta(seconds=1))


def refs(printed: str) -> list[str]:
    """The column `ref` of a table, owner left out."""
    if "{" not in printed and "[" not in printed:
        return []
    rows = json.loads(printed[printed.index("[") :])
    return [row["ref"].partition("/")[2] for row in rows]


@pytest.mark.parametrize(("arguments", "expected"), KERNEL_LISTS)
def test_kernels_are_listed_as_asked(printed: dict[str, str], arguments: str, expected: list[str]) -> None:
    assert refs(printed[asked("kernels", arguments)]) == expected


@pytest.mark.parametrize(("arguments", "expected"), DATASET_LISTS)
def test_datasets_are_listed_as_asked(printed: dict[str, str], arguments: str, expected: list[str]) -> None:
    assert refs(printed[asked("datasets", arguments)]) == expected


@pytest.mark.parametrize(("arguments", "expected"), MODEL_LISTS)
def test_models_are_listed_as_asked(printed: dict[str, str], arguments: str, expected: list[str]) -> None:
    assert refs(printed[asked("models", arguments)]) == expected


@pytest.mark.parametrize("command", UNANSWERED)
def test_what_cannot_be_answered_here_is_said_in_one_sentence(printed: dict[str, str], command: str) -> None:
    assert printed[command].startswith("The local Kaggle ")
    assert printed[command].count("\n") == 1


@pytest.mark.parametrize("fields", [{"group": "UPVOTED"}, {"group": "BOOKMARKED"}, {"outputType": "visualization"}])
def test_a_list_that_cannot_be_judged_is_refused(kaggle: Program, fields: dict[str, Any]) -> None:
    assert kaggle.client.ask(KERNELS, "ListKernels", **fields).status_code == 501
