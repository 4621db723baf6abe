"""The pins that `environment` may name are the ones that relay is tested with."""

import json
import re
from pathlib import Path

import pytest

from orchestrator.base.errors import BadInput
from orchestrator.pipeline import loader
from orchestrator.pipeline.environments import ENVIRONMENTS
from orchestrator.pipeline.model import Pipeline
from stages.session.packages import name_of

ROOT = Path(__file__).parents[2]
TEXT = "name: mine\nstages: [{{name: sft, kind: sft, steps: 4, options: {{data: [gsm8k]}}}}]\n{more}"


def loaded(more: str) -> Pipeline:
    return loader.parse(TEXT.format(more=more), "mine.yaml")


def test_a_name_stands_for_its_pins() -> None:
    pins = loaded("accelerator: cpu\nenvironment: tunix-0.1.5").pins
    assert pins == ENVIRONMENTS["tunix-0.1.5"]
    assert "google-tunix==0.1.5" in pins


def test_a_named_environment_brings_the_accelerators_own_jax() -> None:
    assert "jax[tpu]==0.8.1" in loaded("environment: tunix-0.1.5").pins


def test_the_newest_is_the_default() -> None:
    assert loaded("environment: tunix-0.1.7").pins == loaded("").pins


def test_a_name_survives_in_the_runs_own_copy() -> None:
    first = loaded("environment: tunix-0.1.5")
    assert Pipeline.from_canonical(first.canonical()) == first
    assert first.digest != loaded("").digest


def test_a_list_is_taken_as_it_is() -> None:
    assert loaded("environment: [jax==0.9.9]").pins == ("jax==0.9.9",)


def test_an_unknown_name_is_refused_with_one_that_is_known() -> None:
    with pytest.raises(
        BadInput, match=r"mine\.yaml: environment: 'tunix-0\.1\.6' .* did you mean 'tunix-0\.1\.[57]'\?"
    ):
        loaded("environment: tunix-0.1.6")


@pytest.mark.parametrize("name, file", [("tunix-0.1.5", "constraints-0.1.5.txt"), ("tunix-0.1.7", "constraints.txt")])
def test_the_pins_are_what_is_installed_for_their_tests(name: str, file: str) -> None:
    constraints = set((ROOT / file).read_text().lower().splitlines())
    wanted = {re.sub(r"\[.*\]", "", pin) for pin in ENVIRONMENTS[name] if "==" in pin}
    assert wanted <= constraints


def test_every_package_that_is_pinned_is_installed_by_make() -> None:
    makefile = (ROOT / "Makefile").read_text()
    wanted = {name_of(pin) for pin in ENVIRONMENTS["tunix-0.1.5"]}
    recipe = makefile[makefile.index("$(COMPAT_READY): ") :]
    assert wanted <= set(re.findall(r"[a-z-]+", recipe[: recipe.index("touch")]))


@pytest.mark.parametrize(
    ("written", "pin"),
    [
        ("six == 1.17.0", "six==1.17.0"),
        (" six ", "six"),
        ("'math-verify [antlr4_13_2] == 0.9.0'", "math-verify[antlr4_13_2]==0.9.0"),
        ("'jax[tpu, k8s]==0.10.2+local'", "jax[tpu,k8s]==0.10.2+local"),
    ],
)
def test_a_pin_has_one_form_however_it_is_spaced(written: str, pin: str) -> None:
    assert loaded(f"environment: [{written}]").pins == (pin,)


@pytest.mark.parametrize(
    ("entry", "remedy"),
    [
        ('six==1.17.0; python_version>"3"', "write name==version or name"),
        ("six==1.17.0 --hash=sha256:abc", "without markers, hashes"),
        ("six>=1.17.0", "write name==version or name"),
        ("six===1.17.0", "write name==version or name"),
        ("six==1.*", "write name==version or name"),
        ("six 1.17.0", "write name==version or name"),
        ("", "write name==version or name"),
        ("# six", "write name==version or name"),
        ("--index-url=http://x", "write name==version or name"),
        ("x.lock.txt", "write environment: x.lock.txt, without brackets"),
        ("tunix-0.1.5", "write environment: tunix-0.1.5, without brackets"),
        ("Flax==1.0", "an earlier pin has at 0.9: leave one of them out"),
    ],
)
def test_what_no_session_can_install_is_no_pin(entry: str, remedy: str) -> None:
    with pytest.raises(BadInput, match=r"environment\[1\]: ") as refused:
        loaded(f"environment: {json.dumps(['flax==0.9', entry])}")
    assert remedy in str(refused.value)
