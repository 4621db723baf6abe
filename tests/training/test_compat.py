"""What `stages.training.compat` says is the same on the Tunix that is installed, 0.1.5 or 0.1.7: `make test-compat` asks the former."""

from importlib import metadata

import pytest
from flax import nnx

from stages.options import Model
from stages.training.families import full_size_config, model_class
from tests.training.harness import Chain, spec

VERSION = metadata.version("google-tunix")


def test_the_installed_tunix_is_one_that_is_known() -> None:
    assert VERSION in ("0.1.5", "0.1.7")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gemma2-2b", "gemma3-1b"])
def test_both_models_are_known_by_name(kind: str) -> None:
    config = full_size_config(kind, Model(kind=kind))
    model = nnx.eval_shape(lambda: model_class(kind)(config, rngs=nnx.Rngs(0)))
    names = {".".join(map(str, path)) for path, _ in nnx.to_flat_state(nnx.state(model))}
    assert "layers.25.mlp.gate_proj.kernel" in names
    assert "final_norm.scale" in names


@pytest.mark.slow
def test_an_adapter_learns_on_this_version(tmp_path_factory: pytest.TempPathFactory) -> None:
    """With a Flax that does not go with it, Tunix 0.1.5 has adapters without parameters and says nothing."""
    options = {"data": ["magpie"], "batch": 8, "max_seq_length": 96, "learning_rate": 0.02}
    chain = Chain((spec("sft", "sft", 12, **options, mode="lora", lora_rank=4),))
    record = chain.run(tmp_path_factory.mktemp("run"))
    assert record.value("sft", 12, "loss") < record.value("sft", 1, "loss")
