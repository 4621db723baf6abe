"""Loads a model and answers questions: requests are lines of standard input, events lines of standard output.

The first line is an `AskRequest`, every other one an `AskedQuestion`. Events are JSON objects with one key: `say` (a sentence
for the user), `ready`, `text` (the next piece of an answer), `answered`, `refused` (the reason why a question gets no
answer), or `failed`, after which the process ends. SIGINT ends the current answer.
"""

import dataclasses
import json
import logging
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orchestrator.app.answering.memory import memory_needed_bytes
from orchestrator.app.answering.streaming import StreamingSampler, TextSoFar
from orchestrator.core.asking import Answered, AskedQuestion, AskRequest
from orchestrator.views.format import size
from stages.data import prompt_of
from stages.data.pins import Pins
from stages.formats.named_base import find_base
from stages.formats.trained_weights import StoredState, stored_state
from stages.options import Model, fit
from stages.stage import StageFailed
from stages.training import model_files
from stages.training.checkpoints import TOKENIZER_PIN
from stages.training.initial_state import made_of, with_weights
from stages.training.model import Foundation, load
from stages.training.model_files import ModelFiles

CONTEXT_TOKENS = 8192
"""Longest prompt and answer together: every model of the families was made for at least as many tokens."""


class InterruptFlag:
    """Notes SIGINT. The parent sends it when the user presses Ctrl-C during an answer."""

    def __init__(self) -> None:
        self.is_set = False
        signal.signal(signal.SIGINT, self._set)

    def _set(self, _number: int, _frame: object) -> None:
        self.is_set = True


def main() -> int:
    """Answer until standard input ends; returns the exit status."""
    logging.getLogger("absl").setLevel(logging.ERROR)
    interrupt = InterruptFlag()
    try:
        request = AskRequest.from_dict(json.loads(sys.stdin.readline()))
        answerer = Answerer(request, loaded(request), interrupt)
    except StageFailed as error:
        tell(failed={"cause": error.cause, "reason": error.reason, "transient": error.transient})
        return 1
    tell(ready=True)
    for line in sys.stdin:
        interrupt.is_set = False
        try:
            for piece in answerer.answer(AskedQuestion.from_dict(json.loads(line))):
                tell(**({"answered": piece.to_dict()} if isinstance(piece, Answered) else {"text": piece}))
        except ValueError as error:
            tell(refused=str(error))
    return 0


def tell(**event: Any) -> None:
    """Write one event."""
    print(json.dumps(event), flush=True)  # noqa: T201  # the protocol is on standard output


def loaded(request: AskRequest) -> Foundation:
    """Load the model with the checkpoint's weights. Raises StageFailed, also if it does not fit in memory."""
    model = fit(Model, request.model, "model")
    # The files decide about the size, and this machine has one device.
    model = dataclasses.replace(model, kind=model.kind.partition("-")[0], mesh_fsdp=1, mesh_tp=1)
    if request.base:
        base = find_base(model, Path(request.base)).weights
        model = dataclasses.replace(model, source=str(base))
    files = model_files.find(model, Path(request.inputs), Path(request.scratch))
    state = stored_state(Path(request.directory)) if request.directory else None
    require_memory(request, model, files, changes=state is not None)
    foundation = load(dataclasses.asdict(model), Path(request.inputs), Path(request.scratch))
    if state is None:
        return foundation
    require_same_base(foundation, files, state)
    return dataclasses.replace(foundation, model=with_weights(foundation, state.in_memory()))


def require_memory(request: AskRequest, model: Model, files: ModelFiles, *, changes: bool) -> None:
    """Tell how much memory the model needs; raises StageFailed `too-little-memory` if there is less."""
    tokens = request.prompt_tokens + request.answer_tokens
    needed_bytes = memory_needed_bytes(files, model, tokens, changes=changes)
    about = f"{files.weights} in {model.dtype} needs about {size(needed_bytes)} of memory"
    if request.memory_bytes and needed_bytes > request.memory_bytes:
        raise StageFailed(
            "too-little-memory",
            f"{about} and this machine has {size(request.memory_bytes)} free: close other programs, or let a session "
            "answer with relay ask RUN --file QUESTIONS",
        )
    free = f", {size(request.memory_bytes)} are free" if request.memory_bytes else ""
    tell(say=f"loading the model: {about}{free}")


def require_same_base(foundation: Foundation, files: ModelFiles, state: StoredState) -> None:
    """Raise StageFailed `model-changed` unless weights and tokenizer are those that the run began with."""
    if made_of(foundation.model) != state.made:
        reason = f"{files.weights} has not the weights that the run started from: name the right folder with --base"
        raise StageFailed("model-changed", reason)
    pins = Pins()
    pins.recall(state.data)
    if not pins.same(TOKENIZER_PIN, foundation.tokenizer.sha256):
        reason = f"{files.tokenizer} is not the tokenizer that the run started with: restore it"
        raise StageFailed("model-changed", reason)


class Answerer:
    """Answers questions one by one, each on its own."""

    def __init__(self, request: AskRequest, foundation: Foundation, interrupt: InterruptFlag) -> None:
        self._request, self._foundation, self._interrupt = request, foundation, interrupt
        self._samplers: dict[int, StreamingSampler] = {}

    def answer(self, question: AskedQuestion) -> Iterator[str | Answered]:
        """Yield the pieces of an answer and then all of it. Raises ValueError for a question that is too long."""
        tokenizer, stops, options = self._foundation.tokenizer, self._foundation.stops, self._foundation.options
        text = prompt_of(question.text, options.system, options.kind)
        prompt = [*tokenizer.begin, *tokenizer.encode(text)]
        so_far, ended = TextSoFar(tokenizer.decode), False
        for token in self._sampler(len(prompt)).stream(prompt, question.drawing, stops):
            ended = token in stops
            if new := so_far.add(token):
                yield new
            if self._interrupt.is_set:
                break
        if new := so_far.end():
            yield new
        yield Answered(
            text=so_far.text,
            tokens=len(so_far.tokens),
            truncated=not ended and len(so_far.tokens) == self._request.answer_tokens,
            interrupted=not ended and self._interrupt.is_set,
        )

    def _sampler(self, tokens: int) -> StreamingSampler:
        """Return a sampler for a prompt of so many tokens. Its width is doubled as needed, since each is compiled."""
        width = self._request.prompt_tokens
        while width < tokens:
            width *= 2
        if width + self._request.answer_tokens > CONTEXT_TOKENS and width > self._request.prompt_tokens:
            raise ValueError(f"the question has {tokens:,} tokens with its template, which is too long: shorten it")
        if width not in self._samplers:
            self._samplers[width] = StreamingSampler(self._foundation, width, self._request.answer_tokens)
        return self._samplers[width]


if __name__ == "__main__":
    sys.exit(main())
