"""Gemma 2 and Gemma 3 come from files: wherever they are mounted, in either layout, to the same numbers."""

import functools
import hashlib
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from flax import nnx

from orchestrator.rehearsal.local_kaggle.stand_ins.model import write_model
from stages.options import Model
from stages.session.accelerator import STAND_IN
from stages.stage import StageFailed
from stages.training.checkpoints import tree_digest
from stages.training.families import full_size, full_size_config, model_class
from stages.training.model import arrays_of, load
from tests.training.models import SMALL, devices, loaded, logits, written

KINDS = ("gemma2", "gemma3")
LAYOUTS = ("flax", "transformers")
COMMIT = "5" * 40
KAGGLE = "google/gemma-2/flax/gemma2-2b-it/1"


def digest(values: dict[str, Any], **options: Any) -> str:
    return tree_digest(arrays_of(loaded(values, **options).model))


def cause_of(values: dict[str, Any], inputs: Path, **options: Any) -> StageFailed:
    with pytest.raises(StageFailed) as failed:
        load({**values, **options}, inputs, inputs / "scratch")
    assert "\n" not in failed.value.reason
    return failed.value


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kv_heads", [1, 2])
def test_both_layouts_are_the_same_model(kind: str, kv_heads: int, tmp_path: Path) -> None:
    """Where every head has its own keys, Tunix has one product instead of two."""
    flax, transformers = (written(tmp_path / name, kind, name, kv_heads=kv_heads) for name in LAYOUTS)
    assert digest(flax) == digest(transformers)


@pytest.mark.slow
def test_weights_cut_into_several_files_are_one_model(tmp_path: Path) -> None:
    whole, cut = written(tmp_path / "a", layout="transformers"), written(tmp_path / "b", layout="transformers", files=3)
    (tmp_path / "b" / "model.safetensors").unlink(missing_ok=True)
    assert len(list((tmp_path / "b").glob("*.safetensors"))) == 3
    assert digest(whole) == digest(cut)


@pytest.mark.slow
def test_kaggles_gemma2_is_read_as_tunix_reads_it(tmp_path: Path) -> None:
    """With a size of ours in place of Gemma 2 2B's; every array differs from every other."""
    from tunix.models.gemma import model as tunix_model
    from tunix.models.gemma import params

    values = written(tmp_path, "gemma2", "flax", kv_heads=1)
    folder = all_different(tmp_path / "gemma2-2b-it")
    ours = loaded(values).model
    theirs = tunix_model.module_from_linen_variables(
        module_factory=lambda: tunix_model.Gemma(ours.config, rngs=nnx.Rngs(0)),
        variables=params.load_and_format_params(str(folder))["transformer"],
        map_key_fn=tunix_model._map_linen_var_names,
        assign_val_fn=tunix_model._assign_linen_params_to_nnx_state,
    )
    assert tree_digest(arrays_of(ours)) == tree_digest(arrays_of(theirs))


@pytest.mark.slow
def test_kaggles_gemma3_is_read_as_tunix_reads_it(tmp_path: Path) -> None:
    from tunix.models.gemma3 import params

    values = written(tmp_path, "gemma3", "flax", layers=7)
    folder = all_different(tmp_path / "gemma3-1b-it")
    ours = loaded(values).model
    theirs = params.create_model_from_checkpoint(str(folder), ours.config, dtype=jnp.float32)
    assert tree_digest(arrays_of(ours)) == tree_digest(arrays_of(theirs))


def all_different(folder: Path) -> Path:
    """Give a flax checkpoint's norms, which begin as zeros all alike, numbers of their own."""
    with ocp.StandardCheckpointer() as checkpointer:
        tree = checkpointer.restore(folder)
        random = np.random.default_rng(0)
        changed = jax.tree.map(lambda leaf: np.asarray(leaf) + random.standard_normal(leaf.shape, np.float32), tree)
        checkpointer.save(folder, changed, force=True)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_model_is_held_in_the_type_that_is_asked_for(kind: str, layout: str, tmp_path: Path) -> None:
    values = written(tmp_path, kind, layout)
    exact, rounded = arrays_of(loaded(values).model), arrays_of(loaded(values, dtype="bfloat16").model)
    for name, array in exact.items():
        assert array.dtype == np.float32
        assert np.array_equal(array.astype(jnp.bfloat16), rounded[name])


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_rounded_model_that_saves_memory_computes_about_the_same(kind: str, tmp_path: Path) -> None:
    values = written(tmp_path, kind)
    rounded = logits(loaded(values, dtype="bfloat16", remat="block").model)
    assert rounded.dtype == jnp.bfloat16
    np.testing.assert_allclose(rounded.astype(np.float32), logits(loaded(values).model), atol=0.1)


@pytest.mark.slow
def test_a_model_is_a_pure_function_of_its_seed(tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("same", 1), ("other", 2)):
        written(tmp_path / name, layout="transformers", seed=seed)
    one, same, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "same", "other"))
    assert one == same != other
    assert digest(written(tmp_path / "again", seed=1)) == digest({"kind": "gemma2", "source": str(tmp_path / "one")})


@pytest.mark.slow
def test_no_layer_starts_dead_and_no_two_start_alike(tmp_path: Path) -> None:
    arrays = {name: value for name, value in arrays_of(loaded(written(tmp_path)).model).items() if "norm" not in name}
    assert all((value != 0).all() for value in arrays.values())
    assert len({tree_digest({"": value}) for value in arrays.values()}) == len(arrays)


# --- where the files are --------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "place",
    [
        "gemma-2/flax/gemma2-2b-it/1",
        "models/google/gemma-2/flax/gemma2-2b-it/1",
        "models/google/gemma-2/Flax/gemma2-2b-it/1",
    ],
)
def test_a_kaggle_model_is_found_wherever_it_is_mounted(place: str, tmp_path: Path) -> None:
    written(tmp_path / "models/somebody/gemma-2/flax/gemma2-2b-it/1", seed=5)
    written(tmp_path / "models/google/gemma-2/flax/gemma2-2b-it/2", seed=6)
    wanted = digest(written(tmp_path / place, seed=7))
    if not place.startswith("models"):
        shutil.rmtree(tmp_path / "models/somebody")  # without an owner in the path nobody could tell them apart
    found = load({"kind": "gemma2", "source": KAGGLE}, tmp_path, tmp_path)
    assert tree_digest(arrays_of(found.model)) == wanted


@pytest.mark.slow
def test_a_hugging_face_model_may_be_mounted_too(tmp_path: Path) -> None:
    wanted = digest(written(tmp_path / "inputs/datasets/me/gemma-2-2b-it", layout="transformers"))
    found = load({"kind": "gemma2", "source": "google/gemma-2-2b-it"}, tmp_path / "inputs", tmp_path)
    assert tree_digest(arrays_of(found.model)) == wanted


def test_a_model_that_is_not_mounted_is_named_beside_those_that_are(tmp_path: Path) -> None:
    written(tmp_path / "models/google/gemma-2/flax/gemma2-2b-it/2")
    failed = cause_of({"kind": "gemma2", "source": KAGGLE}, tmp_path)
    assert (failed.cause, failed.transient) == ("model-missing", True)
    assert KAGGLE in failed.reason
    assert "models/google/gemma-2/flax/gemma2-2b-it/2/gemma2-2b-it" in failed.reason


def test_a_path_without_a_model_is_refused(tmp_path: Path) -> None:
    for source in (tmp_path / "nowhere", tmp_path):
        failed = cause_of({"kind": "gemma2", "source": str(source)}, tmp_path)
        assert (failed.cause, failed.transient) == ("model-missing", False)
        assert "no model is mounted" in failed.reason


@pytest.mark.slow
def test_a_missing_tokenizer_is_named(tmp_path: Path) -> None:
    values = written(tmp_path / "model")
    (tmp_path / "model/tokenizer.model").rename(tmp_path / "elsewhere.model")
    assert cause_of(values, tmp_path).cause == "tokenizer-missing"
    assert cause_of(values, tmp_path, tokenizer=str(tmp_path / "nowhere")).cause == "tokenizer-missing"
    assert load({**values, "tokenizer": str(tmp_path / "elsewhere.model")}, tmp_path, tmp_path).tokenizer.size > 100


FIND = """
import json, sys
from pathlib import Path
from stages.training import model_files
from stages.options import Model
from stages.stage import StageFailed
try:
    found = model_files.find(Model(source="google/gemma-2-2b-it"), Path(sys.argv[1]), Path(sys.argv[2]))
    print(json.dumps([found.layout, str(found.weights), str(found.tokenizer)]))
except StageFailed as failed:
    print(json.dumps([failed.cause, failed.transient, failed.reason]))
"""


def found_from(endpoint: str, tmp_path: Path) -> list[Any]:
    """What a session without the model among its inputs finds at this Hugging Face."""
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-c", FIND, str(tmp_path / "inputs"), str(tmp_path / "scratch")]
    probe = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    answer: list[Any] = json.loads(probe.stdout)
    return answer


class Hub(http.server.SimpleHTTPRequestHandler):
    """As much of Hugging Face as a download needs: what a repository holds, and its files."""

    def send_head(self) -> Any:
        files = sorted(path for path in Path(self.directory).iterdir() if not path.name.startswith("."))
        if self.path.startswith("/api/models/google/gemma-2-2b-it/revision"):
            about: Any = {"id": "google/gemma-2-2b-it", "sha": COMMIT}
            about["siblings"] = [{"rfilename": path.name} for path in files]
        elif self.path.startswith("/api/models/google/gemma-2-2b-it/tree"):
            about = [{"type": "file", "path": f.name, "size": f.stat().st_size, "oid": COMMIT} for f in files]
        else:
            self.path = "/" + (self.path.rpartition("/")[2] if "/resolve/" in self.path else "missing")
            return super().send_head()
        self.path = "/.about"
        (Path(self.directory) / ".about").write_text(json.dumps(about))
        return super().send_head()

    def end_headers(self) -> None:
        self.send_header("ETag", f'"{hashlib.sha256(self.path.encode()).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        if self.path == "/missing":
            self.send_header("X-Error-Code", "RepoNotFound")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[str]:
    """The address of a Hugging Face that has one model."""
    written(tmp_path / "hub", layout="transformers")
    (tmp_path / "hub/pytorch_model.bin").write_bytes(b"the same in another format")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Hub, directory=str(tmp_path / "hub")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_a_model_that_is_not_mounted_is_fetched_from_hugging_face(hub: str, tmp_path: Path) -> None:
    layout, weights, tokenizer = found_from(hub, tmp_path)
    assert layout == "transformers", tokenizer
    assert Path(tokenizer).parent == Path(weights)
    assert not (Path(weights) / "pytorch_model.bin").exists()
    assert digest({"kind": "gemma2", "source": weights}) == digest({"kind": "gemma2", "source": str(tmp_path / "hub")})


@pytest.mark.slow
def test_without_hugging_face_another_session_may_have_luck(tmp_path: Path) -> None:
    cause, transient, reason = found_from("http://127.0.0.1:9", tmp_path)
    assert (cause, transient) == ("model-missing", True)
    assert "google/gemma-2-2b-it is not among the inputs (no model is mounted)" in reason


@pytest.mark.slow
def test_a_repository_that_hugging_face_does_not_have_is_refused_for_good(hub: str, tmp_path: Path) -> None:
    cause, transient, _ = found_from(f"{hub}/other", tmp_path)
    assert (cause, transient) == ("model-missing", False)


# --- what does not fit ------------------------------------------------------------


@pytest.mark.slow
def test_full_size_is_gemma_2_2b_and_gemma_3_1b() -> None:
    """2.6 and 1.0 thousand million weights, from shapes alone."""
    for kind, weights in (("gemma2-2b", 2_614_636_800), ("gemma3-1b", 999_885_952)):
        config = full_size_config(kind, Model(kind=kind, dtype="bfloat16", remat="block"))
        shapes = nnx.eval_shape(functools.partial(made_anew, kind, config))
        assert sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(nnx.state(shapes))) == weights
        assert config.remat_config.name == "BLOCK"


def made_anew(kind: str, config: Any) -> nnx.Module:
    made: nnx.Module = model_class(kind)(config, rngs=nnx.Rngs(0))
    return made


@pytest.mark.slow
def test_a_kind_with_a_size_in_its_name_has_that_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(STAND_IN, raising=False)
    values = written(tmp_path / "model")
    failed = cause_of({**values, "kind": "gemma2-2b"}, tmp_path)
    assert failed.cause == "model-mismatch"
    assert "26 layers" in failed.reason
    assert failed.reason.endswith("say kind: gemma2 to train that")
    monkeypatch.setenv(STAND_IN, "1")
    assert f"stands in for one with {full_size('gemma2-2b', 0)}" in loaded(values, kind="gemma2-2b").note


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_model_of_the_other_family_is_refused(layout: str, tmp_path: Path) -> None:
    values = written(tmp_path / "model", "gemma3", layout)
    failed = cause_of({**values, "kind": "gemma2"}, tmp_path)
    assert failed.cause == "model-mismatch"
    assert "holds a Gemma 3 model of 2 layers and model.kind says gemma2: write kind: gemma3" in failed.reason


def test_a_tokenizer_of_a_larger_model_is_refused(tmp_path: Path) -> None:
    values = written(tmp_path / "model")
    write_model(tmp_path / "model", "gemma2", "transformers", vocabulary=32, **SMALL)
    shutil.rmtree(tmp_path / "model/gemma2-2b-it")
    assert cause_of(values, tmp_path).cause == "model-mismatch"


@pytest.mark.parametrize("left", [0.0, 0.5])
def test_safetensors_with_holes_are_refused(left: float, tmp_path: Path) -> None:
    failed = cause_of(damaged(tmp_path / "model", "transformers", left), tmp_path)
    assert (failed.cause, failed.transient) == ("model-damaged", False)


def damaged(folder: Path, layout: str, left: float) -> dict[str, Any]:
    """A model whose largest file is cut short, or missing where nothing is left of it."""
    values = written(folder, layout=layout, **({"files": 2} if layout == "transformers" else {}))
    weights = folder / "gemma2-2b-it/d" if layout == "flax" else folder
    largest = max(weights.iterdir(), key=lambda path: path.stat().st_size)
    if left:
        largest.write_bytes(largest.read_bytes()[: int(left * largest.stat().st_size)])
    else:
        largest.unlink()
    return values


LOAD = """
import json, sys
from stages.stage import StageFailed
from tests.training.models import loaded
try:
    loaded(json.loads(sys.argv[1]))
except StageFailed as failed:
    print(failed.cause)
"""


@pytest.mark.slow
@pytest.mark.parametrize("left", [0.0, 0.5])
def test_a_flax_checkpoint_with_holes_is_refused(left: float, tmp_path: Path) -> None:
    """In a process of its own: there the file library's other reads may fail unheard."""
    command = [sys.executable, "-c", LOAD, json.dumps(damaged(tmp_path / "model", "flax", left))]
    probe = subprocess.run(command, capture_output=True, text=True, check=False)
    assert probe.stdout == "model-damaged\n", probe.stderr


def test_a_tokenizer_that_is_none_is_refused(tmp_path: Path) -> None:
    values = written(tmp_path / "model")
    (tmp_path / "model/tokenizer.model").write_bytes(b"not a tokenizer")
    assert cause_of(values, tmp_path).cause == "model-damaged"


ON_EIGHT_DEVICES = """
import json, sys
import numpy as np
from stages.training.model import arrays_of
from stages.stage import StageFailed
from tests.training.models import loaded, logits
for values in json.loads(sys.argv[1]):
    one, many = loaded(values), loaded(values, mesh_fsdp=4, mesh_tp=2)
    assert all(len(array.sharding.device_set) == 8 for array in arrays_of(many.model).values())
    table = arrays_of(many.model)["embedder.input_embedding"]
    assert table.addressable_shards[0].data.size * 8 == table.size
    np.testing.assert_allclose(logits(many.model), logits(one.model), atol=1e-5)
    assert max(np.abs(np.asarray(arrays_of(one.model)[name]) - value).max() for name, value in arrays_of(many.model).items()) == 0
try:
    loaded(json.loads(sys.argv[1])[0], mesh_fsdp=1, mesh_tp=8)
except StageFailed as failed:
    print(failed.cause, failed.reason)
"""


@pytest.mark.slow
def test_a_model_on_a_mesh_of_eight_devices_computes_the_same(tmp_path: Path) -> None:
    models = [written(tmp_path / f"{kind}-{layout}", kind, layout, heads=4) for kind in KINDS for layout in LAYOUTS]
    environment = {**os.environ, **devices(8)}
    command = [sys.executable, "-c", ON_EIGHT_DEVICES, json.dumps(models)]
    probe = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert probe.returncode == 0, probe.stderr
    assert probe.stdout.startswith(
        "mesh-unfit layers.0.attn.attn_vec_einsum.w (4, 8, 16) cannot be split along 8 devices"
    )
