"""Generates answers with continuous batching: a row whose answer has ended is given the next prompt.

Tunix's sampler decodes a batch until its longest answer has ended, attends to the whole cache at every step, computes
logits of all prompt tokens and makes the cache on one device. Here the decode loop pauses after every few steps
(`slots.SEGMENT`); in between ended rows leave, prompts are admitted, and the cache becomes as wide as the rows need and,
at the end of the queue, as short. The programs are in `stages.training.decoding`, the shapes in `stages.training.slots`.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from stages.training import decoding
from stages.training.decoding import Cache, DecodeSettings, Noise, SlotState, TokenChoice
from stages.training.families import without_remat
from stages.training.slots import SEGMENT, SlotPlan

Tokens = np.ndarray[Any, np.dtype[np.int32]]


@dataclass(frozen=True)
class SamplerLimits:
    """Length limits in tokens, number of slots, the tokens that end an answer, and steps of the decode loop between two
    looks at the rows."""

    prompt_tokens: int
    answer_tokens: int
    slots: int
    stops: tuple[int, ...]
    segment: int = SEGMENT


@dataclass(frozen=True)
class Draw:
    """Random choice of tokens: greedy at a temperature of 0. `top_k` 0 and `top_p` 1 allow all tokens."""

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    @property
    def choice(self) -> TokenChoice:
        """Return the part that the programs are compiled for."""
        return TokenChoice() if not self.temperature else TokenChoice(False, self.top_k, self.top_p < 1)

    @property
    def noise(self) -> Noise:
        """Return the part that the programs take as arguments."""
        return Noise(np.uint32(self.seed), np.float32(self.temperature or 1.0), np.float32(self.top_p))


@dataclass
class DrawnTokens:
    """Tokens of an answer as they are generated, the stop token included, and their log-probabilities (natural
    logarithm) under all tokens at the sampling temperature."""

    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)


class ContinuousSampler:
    """Generates with the current weights of `model`.

    `narrow` rounds the weights and the cache to bfloat16 for sampling alone. The rounded copy of the model's own weights
    is kept if they are frozen (`base_frozen`), and made anew for each call otherwise; an adapter's always is.

    The same call gives the same bits. An answer does not depend on the others of its call, bit for bit if the shapes
    that the others cause are the same (`slots`), and otherwise up to rounding, which changes a token only in a near tie.
    """

    def __init__(
        self,
        model: nnx.Module,
        mesh: jax.sharding.Mesh,
        limits: SamplerLimits,
        *,
        narrow: bool = False,
        base_frozen: bool = True,
    ) -> None:
        self._model, self._mesh, self._limits = model, mesh, limits
        self._narrow, self._base_frozen = narrow, base_frozen
        self._rounded_base: dict[Any, Any] = {}
        config: Any = model.config
        self.layout = decoding.cache_layout(mesh, config.num_kv_heads)

    def draw(self, prompts: Sequence[Sequence[int]], draw: Draw) -> list[DrawnTokens]:
        """Return an answer to each prompt (token ids). Raises ValueError for a prompt above the limit."""
        with self._mesh:
            run = self._run(prompts, draw)
            while run.waiting or run.busy:
                run.admit()
                if run.busy:
                    run.advance(self._limits.segment)
        return run.answers

    def stream(self, prompt: Sequence[int], draw: Draw) -> Iterator[int]:
        """Yield the tokens of one answer as they are generated, up to and including a stop token."""
        with self._mesh:
            run = self._run([prompt], draw)
            run.admit()
        (answer,) = run.answers
        yield answer.tokens[-1]
        while run.busy:
            with self._mesh:
                run.advance(1)
            yield answer.tokens[-1]

    def _run(self, prompts: Sequence[Sequence[int]], draw: Draw) -> "_SamplerRun":
        limits = self._limits
        longest = max((len(prompt) for prompt in prompts), default=0)
        if longest > limits.prompt_tokens:
            raise ValueError(f"a prompt has {longest:,} tokens, and the sampler takes {limits.prompt_tokens:,}")
        plan = SlotPlan.of(limits.slots, limits.prompt_tokens, limits.answer_tokens, self._mesh.shape["fsdp"])
        return _SamplerRun(*self._weights(), prompts, draw, limits, plan, self.layout)

    def _weights(self) -> tuple[Any, Any]:
        """Return the graph and the current weights of the model, rounded if the sampler is narrow."""
        if not self._narrow:
            with without_remat(self._model):
                graph, state = nnx.split(self._model)
            return graph, state
        with without_remat(self._model), computing_in(self._model, jnp.bfloat16):
            graph, state = nnx.split(self._model)
        return graph, nnx.from_flat_state(
            [(path, self._rounded(path, leaf)) for path, leaf in nnx.to_flat_state(state)]
        )

    def _rounded(self, path: tuple[Any, ...], leaf: Any) -> Any:
        value = leaf.get_value()
        if not jnp.issubdtype(value.dtype, jnp.floating):
            return leaf
        keeps = self._base_frozen and not issubclass(leaf.type, nnx.LoRAParam)
        if keeps and path in self._rounded_base:
            return self._rounded_base[path]
        rounded = leaf.replace(value.astype(jnp.bfloat16))
        if keeps:
            self._rounded_base[path] = rounded
        return rounded


@contextmanager
def computing_in(model: nnx.Module, dtype: Any) -> Iterator[None]:
    """Let modules that have a type of their own (Qwen's) compute in `dtype` within the `with` block."""
    changed: list[tuple[nnx.Module, str, Any]] = []
    for _, module in nnx.iter_modules(model):
        for name in ("dtype", "config"):
            value: Any = vars(module).get(name)
            if value is None or (name == "config" and not hasattr(value, "dtype")):
                continue
            changed.append((module, name, value))
            setattr(module, name, replace(value, dtype=jnp.dtype(dtype)) if name == "config" else jnp.dtype(dtype))
    try:
        yield
    finally:
        for module, name, value in changed:
            setattr(module, name, value)


class _SamplerRun:
    """State of one call: the queue of prompts, the slots and their cache."""

    def __init__(
        self,
        graph: Any,
        weights: Any,
        prompts: Sequence[Sequence[int]],
        draw: Draw,
        limits: SamplerLimits,
        plan: SlotPlan,
        layout: jax.sharding.NamedSharding,
    ) -> None:
        self._graph, self._state, self._layout = graph, weights, layout
        self._prompts, self._limits, self._plan = prompts, limits, plan
        self._settings, self._noise = DecodeSettings(draw.choice, layout, limits.segment), draw.noise
        self._stops = np.array(limits.stops, np.int32)
        self.answers = [DrawnTokens() for _ in prompts]
        self.waiting = deque(range(len(prompts)))
        self._slots = _empty_slots(plan.size_for(max(1, len(prompts))))
        self._cache: Cache | None = None

    @property
    def busy(self) -> bool:
        """Return True while an answer in a slot has not ended."""
        return bool((self._slots.left > 0).any())

    def admit(self) -> None:
        """Give free slots to waiting prompts and generate the first token of their answers."""
        free = np.flatnonzero(self._slots.left == 0).tolist()
        if count := min(len(free), len(self.waiting)):
            self._prefill([self.waiting.popleft() for _ in range(count)], free[:count])

    def _prefill(self, numbers: list[int], slots: list[int]) -> None:
        padded = self._plan.size_for(len(numbers))
        lengths = np.ones(padded, np.int32)
        lengths[: len(numbers)] = [len(self._prompts[number]) for number in numbers]
        width = next(each for each in self._plan.prompt_widths if each >= lengths.max())
        tokens = np.zeros((padded, width), np.int32)
        for row, number in enumerate(numbers):
            tokens[row, : lengths[row]] = self._prompts[number]
        rows = np.zeros(padded, np.int32)
        rows[: len(numbers)] = numbers
        found = decoding.prefill(
            self._graph,
            self._state,
            tokens,
            lengths,
            rows,
            self._noise,
            self._settings,
        )
        token, logprob, new = np.asarray(found[0]), np.asarray(found[1]), found[2]
        for row, (number, slot) in enumerate(zip(numbers, slots, strict=True)):
            self._keep(number, token[row : row + 1], logprob[row : row + 1])
            ended = token[row] in self._limits.stops
            left = 0 if ended else self._limits.answer_tokens - 1
            for name, value in zip(_SLOT_FIELDS, (token[row], lengths[row], 1, left, number), strict=True):
                getattr(self._slots, name)[slot] = value
        places = [int(lengths.max()), *self._slots.place[self._slots.left > 0].tolist()]
        needed = self._plan.width_for(places, self._limits.segment)
        self._fit(max(needed, self._width))
        rows[:] = len(self._slots.left)  # a row of padding goes to no slot
        rows[: len(slots)] = slots
        self._cache = decoding.admit(self._cache, new, rows)

    def advance(self, steps: int) -> None:
        """Continue the answers in slots for so many steps, in a cache that fits them."""
        live, ended = np.flatnonzero(self._slots.left > 0), np.flatnonzero(self._slots.left == 0)
        kept, size = None, self._plan.size_for(len(live))
        if not self.waiting and size < len(self._slots.left):
            kept = np.sort(np.concatenate([live, ended[: size - len(live)]]))
        self._fit(self._plan.width_for(self._slots.place[live].tolist(), self._limits.segment), kept)
        before = self._slots.number[self._slots.left > 0], np.flatnonzero(self._slots.left > 0)
        self._cache, slots, tokens, logprobs = decoding.segment(
            self._graph,
            self._state,
            self._cache,
            self._slots,
            self._stops,
            self._noise,
            replace(self._settings, steps=steps),
        )
        self._slots = jax.tree.map(np.array, slots)
        tokens, logprobs = np.asarray(tokens), np.asarray(logprobs)
        for number, slot in zip(*before, strict=True):
            made = tokens[slot] >= 0
            self._keep(number, tokens[slot][made], logprobs[slot][made])

    def _keep(self, number: int, tokens: Any, logprobs: Any) -> None:
        self.answers[number].tokens.extend(tokens.tolist())
        self.answers[number].logprobs.extend(logprobs.tolist())

    def _fit(self, width: int, kept: Any = None) -> None:
        """Make the cache this wide, and keep these slots only; by default all of them."""
        if self._cache is None:
            rows = len(self._slots.left)
            self._cache = decoding.fresh(self._graph, self._state, rows=rows, width=width, layout=self._layout)
        elif kept is not None or width != self._width:
            for name in list(self._cache):
                layer = self._cache.pop(name)
                self._cache[name] = decoding.resize(layer, kept, width=width, layout=self._layout)
        if kept is not None:
            self._slots = jax.tree.map(lambda array: array[kept], self._slots)

    @property
    def _width(self) -> int:
        return 0 if self._cache is None else int(jax.tree.leaves(self._cache)[0].shape[1])


_SLOT_FIELDS = tuple(field.name for field in fields(SlotState))


def _empty_slots(count: int) -> SlotState:
    return SlotState(**{name: np.zeros(count, np.int32) for name in _SLOT_FIELDS})
