"""The sampler's greedy answers are those of Tunix's for every family, and an answer does not depend on its neighbours."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tunix.generate.sampler import CacheConfig, Sampler

from stages.options import Model, Sft
from stages.options.families import FAMILIES
from stages.training import decoding
from stages.training.decoding import DecodeSettings, Noise, SlotState, TokenChoice
from stages.training.families import full_size_config, model_class, without_remat
from stages.training.lora import with_adapter
from stages.training.model import WEIGHTS, Foundation, arrays_of, put_arrays
from stages.training.sampler import ContinuousSampler, Draw, DrawnTokens, SamplerLimits
from tests.training.models import devices, loaded, written

pytestmark = pytest.mark.slow

PROMPT, ANSWER = 24, 20
LENGTHS = (5, 23, 9, 1, 16, 12)


def prompts(foundation: Foundation) -> list[list[int]]:
    """Prompts of different lengths, of tokens that are no marks."""
    random = np.random.default_rng(3)
    return [random.integers(10, foundation.tokenizer.size, length).tolist() for length in LENGTHS]


def limits(slots: int = 4, stops: tuple[int, ...] = (), segment: int = 6, answer: int = ANSWER) -> SamplerLimits:
    return SamplerLimits(PROMPT, answer, slots, stops, segment)


def tokens(found: list[DrawnTokens]) -> list[list[int]]:
    return [answer.tokens for answer in found]


def moved(model: nnx.Module, kind: Any, scale: float) -> None:
    """Make the arrays of a model larger, so that its answers vary."""
    random = np.random.default_rng(1)
    arrays = arrays_of(model, kind)
    noise = {name: random.standard_normal(value.shape) * scale for name, value in arrays.items()}
    larger = {
        name: value + jax.device_put(noise[name].astype(value.dtype), value.sharding) for name, value in arrays.items()
    }
    put_arrays(model, larger, kind)


def made(folder: Path, kind: str, **sizes: int) -> Foundation:
    foundation = loaded(written(folder, kind, "transformers", heads=4, kv_heads=2, layers=2, **sizes))
    moved(foundation.model, WEIGHTS, 0.5)
    return foundation


def adapted(foundation: Foundation) -> nnx.Module:
    """The model with an adapter whose second factor is not zero."""
    model = with_adapter(foundation.model, Sft(mode="lora", lora_rank=2), 0, foundation.mesh)
    moved(model, nnx.LoRAParam, 1.0)
    return model


def with_window(model: nnx.Module, window: int) -> None:
    """Let sliding layers see fewer tokens than there are."""
    for layer in model.layers:
        if hasattr(layer.attn, "sliding_window_size"):
            layer.attn.sliding_window_size = window


def of_tunix(foundation: Foundation, model: nnx.Module, answer: int) -> list[list[int]]:
    """Tunix's greedy tokens of answers that end at the limit only."""
    config: Any = model.config
    cache = CacheConfig(PROMPT + answer, config.num_layers, config.num_kv_heads, config.head_dim)
    given = prompts(foundation)
    with without_remat(model):
        sampler = Sampler(model, foundation.tokenizer, cache)
    sampler.tokenize = lambda text: np.array(given[int(text)], np.int32)
    names, never = [str(number) for number in range(len(given))], foundation.tokenizer.size + 9
    with foundation.mesh:
        return [np.asarray(row).tolist() for row in sampler(names, answer, PROMPT, eos_tokens=[never]).tokens]


def likeliest(model: nnx.Module, prompt: list[int], answer: list[int], width: int) -> tuple[list[int], list[float]]:
    """The greedy choice and the log-probability of each token of an answer, from one pass over the whole text."""
    text = jnp.array([*prompt, *answer, *[0] * (width - len(prompt) - len(answer))])[None]
    mask = jnp.tril(jnp.ones((1, width, width), bool))
    graph, state = nnx.split(model)
    logits = _passed(graph, state, text, jnp.arange(width)[None], mask)[0, len(prompt) - 1 :][: len(answer)]
    logprobs = jax.nn.log_softmax(logits, axis=-1)[jnp.arange(len(answer)), jnp.array(answer)]
    return np.asarray(logits.argmax(-1)).tolist(), np.asarray(logprobs).tolist()


@jax.jit
def _passed(graph: Any, state: Any, text: Any, positions: Any, mask: Any) -> Any:
    return nnx.merge(graph, state)(text, positions, None, mask)[0].astype(jnp.float32)


@pytest.mark.parametrize("kind", sorted(FAMILIES))
def test_greedy_tokens_of_a_model_with_an_adapter_are_those_of_tunix_for_every_family(
    kind: str, tmp_path: Path
) -> None:
    foundation = made(tmp_path, kind)
    model = adapted(foundation)
    # Tunix's sampler pads on the left, and Gemma 2's sliding mask takes the padding for tokens: no window there.
    with_window(model, 8 if kind == "gemma3" else 4096)
    answer = 8  # in segments of 3: rows whose places differ are decoded together, in few shapes
    sampler = ContinuousSampler(model, foundation.mesh, limits(segment=3, answer=answer))
    found = tokens(sampler.draw(prompts(foundation), Draw()))
    assert found == of_tunix(foundation, model, answer)
    assert all(len(row) == answer for row in found)
    assert len({tuple(row) for row in found}) > 1


@pytest.fixture(scope="module")
def gemma2(tmp_path_factory: pytest.TempPathFactory) -> tuple[Foundation, nnx.Module]:
    """A model of two kinds of layers with an adapter, whose window is shorter than the prompts."""
    foundation = made(tmp_path_factory.mktemp("gemma2"), "gemma2")
    model = adapted(foundation)
    with_window(model, 8)
    return foundation, model


def drawn(
    gemma2: tuple[Foundation, nnx.Module], draw: Draw, order: tuple[int, ...] = tuple(range(len(LENGTHS))), **more: Any
) -> list[DrawnTokens]:
    foundation, model = gemma2
    given = prompts(foundation)
    sampler = ContinuousSampler(model, foundation.mesh, limits(**more))
    return sampler.draw([given[number] for number in order], draw)


def test_greedy_tokens_and_their_log_probabilities_are_those_of_one_pass_over_the_text(
    gemma2: tuple[Foundation, nnx.Module],
) -> None:
    foundation, model = gemma2
    for prompt, answer in zip(prompts(foundation), drawn(gemma2, Draw()), strict=True):
        wanted, logprobs = likeliest(model, prompt, answer.tokens, PROMPT + ANSWER)
        assert answer.tokens == wanted
        np.testing.assert_allclose(answer.logprobs, logprobs, atol=1e-4)


def test_an_answer_ends_with_its_first_stop_token_which_is_kept(gemma2: tuple[Foundation, nnx.Module]) -> None:
    whole = tokens(drawn(gemma2, Draw()))
    stops = (whole[0][4], whole[1][0], whole[2][11])
    for found, full in zip(tokens(drawn(gemma2, Draw(), stops=stops)), whole, strict=True):
        ends = [place for place, token in enumerate(full) if token in stops]
        assert found == full[: ends[0] + 1 if ends else ANSWER]


RANDOM = Draw(temperature=1.5, seed=7)


def test_an_answer_depends_neither_on_the_slots_nor_on_when_it_was_admitted(
    gemma2: tuple[Foundation, nnx.Module],
) -> None:
    wanted = tokens(drawn(gemma2, RANDOM))
    assert len({tuple(row) for row in wanted}) == len(LENGTHS)
    assert tokens(drawn(gemma2, RANDOM, slots=1)) == wanted
    stop = (wanted[1][2],)
    ended = tokens(drawn(gemma2, RANDOM, stops=stop))
    assert [row == wanted[number][: len(row)] for number, row in enumerate(ended)] == [True] * len(LENGTHS)
    assert sum(map(len, ended)) < sum(map(len, wanted)), "some ended earlier, and others were admitted earlier"


def test_in_the_same_shapes_an_answer_has_the_same_bits_whatever_its_neighbours_are(
    gemma2: tuple[Foundation, nnx.Module],
) -> None:
    whole = drawn(gemma2, RANDOM)
    others = drawn(gemma2, RANDOM, order=(0, 1, 5, 4, 3, 2))
    for number in (0, 1):
        assert (others[number].tokens, others[number].logprobs) == (whole[number].tokens, whole[number].logprobs)


def test_sampled_tokens_have_the_probabilities_of_their_logits(gemma2: tuple[Foundation, nnx.Module]) -> None:
    logits = jnp.log(jnp.array([0.5, 0.25, 0.15, 0.1]))
    count = 20_000
    for choice, top_p, wanted in (
        (TokenChoice(False), 1.0, [0.5, 0.25, 0.15, 0.1]),
        (TokenChoice(False, top_k=2), 1.0, [2 / 3, 1 / 3, 0, 0]),
        (TokenChoice(False, nucleus=True), 0.8, [0.5 / 0.9, 0.25 / 0.9, 0.15 / 0.9, 0]),
    ):
        noise = Noise(np.uint32(3), np.float32(1.0), np.float32(top_p))
        rows = jnp.broadcast_to(logits, (count, 4))
        token, logprob = decoding._chosen(rows, jnp.arange(count), jnp.zeros(count, jnp.int32), noise, choice)
        found = np.bincount(np.asarray(token), minlength=4) / count
        np.testing.assert_allclose(found, wanted, atol=4 * (0.25 / count) ** 0.5)
        np.testing.assert_allclose(logprob, logits[token], atol=1e-6)


@pytest.mark.parametrize("kind", ["gemma2", "qwen2.5"])
def test_sampling_in_bfloat16_rounds_copies_only_and_always_the_current_adapter(kind: str, tmp_path: Path) -> None:
    foundation = made(tmp_path, kind)
    model = adapted(foundation)
    before = {name: np.asarray(value) for name, value in arrays_of(model, nnx.Param).items()}
    sampler = ContinuousSampler(model, foundation.mesh, limits(), narrow=True)
    given = prompts(foundation)[:2]
    first = sampler.draw(given, Draw())
    for name, value in arrays_of(model, nnx.Param).items():
        assert value.dtype == jnp.float32
        np.testing.assert_array_equal(value, before[name])
    for prompt, answer in zip(given, first, strict=True):
        _, exact = likeliest(model, prompt, answer.tokens, PROMPT + ANSWER)
        off = np.abs(np.array(exact) - np.array(answer.logprobs))
        assert off.max() > 1e-4, "the sampler's policy is another one"
        assert np.median(off) < 0.2, "but not a very different one"
    moved(model, nnx.LoRAParam, 1.0)
    assert sampler.draw(given, Draw())[0].logprobs[0] != first[0].logprobs[0]
    graph, weights = sampler._weights()
    cache = jax.eval_shape(partial(decoding.fresh, rows=2, width=32, layout=sampler.layout), graph, weights)
    assert {leaf.dtype for leaf in jax.tree.leaves(cache)} == {jnp.dtype(jnp.bfloat16)}


def test_the_programs_can_be_lowered_without_any_array() -> None:
    options = Model(kind="gemma2-2b")
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]).reshape(1, 1), ("fsdp", "tp"))
    model = nnx.eval_shape(lambda: model_class("gemma2-2b")(full_size_config("gemma2-2b", options), rngs=nnx.Rngs(0)))
    with without_remat(model):
        graph, weights = nnx.split(model)
    layout = decoding.cache_layout(mesh, model.config.num_kv_heads)
    settings = DecodeSettings(TokenChoice(False), layout, 32)
    row, noise = jax.ShapeDtypeStruct((64,), jnp.int32), Draw(1.0).noise
    with mesh:
        read = decoding.prefill.lower(
            graph, weights, jax.ShapeDtypeStruct((64, 256), jnp.int32), row, row, noise, settings
        ).out_info
        cache = jax.eval_shape(partial(decoding.fresh, rows=64, width=1024, layout=layout), graph, weights)
        slots = SlotState(*[row] * 5)
        made = decoding.segment.lower(
            graph, weights, cache, slots, jax.ShapeDtypeStruct((2,), jnp.int32), noise, settings
        )
    assert read[2]["layer_0"]["k"].shape == (64, 256, 4, 256)
    assert cache["layer_25"]["v"].shape == (64, 1024, 4, 256)
    assert [leaf.shape for leaf in made.out_info[2:]] == [(64, 32), (64, 32)]


ON_FOUR_DEVICES = """
import json, sys
import jax
from stages.training import decoding
from stages.training.sampler import ContinuousSampler, Draw, SamplerLimits
from tests.training.models import loaded
prompts = [[12, 30, 41], [9] * 8, [50, 60], [33]]
for values, heads in json.loads(sys.argv[1]):
    found = []
    for fsdp, tp in ((1, 1), (2, 2)):
        foundation = loaded(values, mesh_fsdp=fsdp, mesh_tp=tp)
        sampler = ContinuousSampler(foundation.model, foundation.mesh, SamplerLimits(8, 8, 4, ()))
        found.append([answer.tokens for answer in sampler.draw(prompts, Draw(1.0, seed=3))])
        with foundation.mesh:
            cache = decoding.fresh(*sampler._weights(), rows=4, width=16, layout=sampler.layout)
            layer = decoding.resize(cache["layer_0"], None, width=32, layout=sampler.layout)
        shards = {shard.data.shape[::2] for array in layer.values() for shard in array.addressable_shards}
        assert shards == {(4 // fsdp, heads // (tp if heads > 1 else 1))}, shards
    assert found[0] == found[1]
print("same")
"""


def test_a_mesh_draws_the_same_tokens_from_a_cache_in_parts(tmp_path: Path) -> None:
    models = [
        (written(tmp_path / str(heads), "gemma3", "transformers", heads=4, kv_heads=heads), heads) for heads in (1, 2)
    ]
    environment = {**os.environ, **devices(4)}
    command = [sys.executable, "-c", ON_FOUR_DEVICES, json.dumps(models)]
    probe = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert probe.stdout == "same\n", probe.stderr
