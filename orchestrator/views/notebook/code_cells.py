"""Code cells of a notebook that are not modules: setup, the pipeline's values, and what calls the modules."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.pipeline.environments import HARDWARE
from orchestrator.views.notebook.library import PACKAGE
from stages.contract import StageSpec
from stages.session import accelerator
from stages.session.package_lock import PackageLock

BESIDES = ("kagglehub", "matplotlib")
"""Packages that only the notebook needs, for its download and its curves: Kaggle's images have them."""

START = '''
import os
import sys
import time
import warnings
from pathlib import Path

warnings.filterwarnings("ignore", category=DeprecationWarning)

STARTED_S = time.monotonic()
STOP_AFTER_S = float(os.environ.get("ZERO_COST_STOP_AFTER_S", "{stop_after_s:.0f}"))
"""Kaggle ends this session after {limit_s:,.0f} seconds; everything is saved so long after its start."""
SAVE_INTERVAL_S = {save_interval_s:.0f}

INPUT = Path(os.environ.get("ZERO_COST_INPUT", "/kaggle/input"))
WORKING = Path(os.environ.get("ZERO_COST_WORKING", "/kaggle/working"))
"""Kaggle keeps what lies here when the notebook is saved with Save & Run All."""
SCRATCH = Path(os.environ.get("ZERO_COST_SCRATCH", "/tmp/zero-cost"))
'''

GPU = '''
os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "{share}")
os.environ["XLA_FLAGS"] = f"{flag} {{os.environ.get('XLA_FLAGS', '')}}".strip()
"""With this flag equal programs compute equal bits on a GPU; JAX reads it when it is imported."""
'''

INSTALL = """
import subprocess
from importlib.util import find_spec

PACKAGES = {packages}
LOCK = r'''{lock}'''
LOCKED_PYTHON = {python!r}
BESIDES = {besides}


def install(*arguments):
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *arguments], check=True)


if os.environ.get("ZERO_COST_INSTALL", "1") == "1":
    here = "%d.%d" % sys.version_info[:2]
    if here == LOCKED_PYTHON:
        requirements = SCRATCH / "requirements.txt"
        SCRATCH.mkdir(parents=True, exist_ok=True)
        requirements.write_text(LOCK)
        install("--no-deps", "--require-hashes", "--requirement", str(requirements))
        print("All", LOCK.count("=="), "packages have the versions of the lock; what pip installed has its hashes.")
    else:
        why = f"it is for Python {{LOCKED_PYTHON}}, and this is {{here}}" if LOCK else "the pipeline names none"
        print(f"No lock is used, since {{why}}: the packages that these depend on may have other versions each time.")
        install(*PACKAGES)
    if missing := [name for name in BESIDES if find_spec(name) is None]:
        print("Not part of the lock:", *missing)
        install(*missing)
"""

FOLDERS = """
for folder in {folders}:
    Path("{package}", folder).mkdir(parents=True, exist_ok=True)
    Path("{package}", folder, "__init__.py").touch()
sys.path.insert(0, os.getcwd())
"""

DOWNLOAD = """
import kagglehub
from {package}.options import Model
from {package}.options.reading import fit
from {package}.stage import StageFailed
from {package}.training import model_files

model_options = fit(Model, MODEL, "MODEL")
model_folder = ""  # empty: the model is found below INPUT
try:
    print(model_files.find(model_options, INPUT, SCRATCH))
except StageFailed:
    model_folder = kagglehub.model_download(model_options.source)
    print(model_folder)
"""

EXAMPLES = """
from {package}.data import RunData, open_source, prompt_of
from {package}.data.mounted import Brought

names = {names}
source = open_source(
    [f"{{name}}:1" for name in names],
    INPUT,
    seed=SEED,
    wants=lambda example: "" if example.completion else "no worked solution",
    scratch=SCRATCH,
    run=RunData(Brought(FILES, DATASETS)),
)
for example in source.train:
    print("-" * 100)
    print(f"{{example.source}}: {{len(example.completion):,}} characters")
    print(prompt_of(example.question, MODEL.get("system", SYSTEM), MODEL["kind"])[:1500] + example.completion[:1500])
"""

TRAINING = """
from {package}.run_stages import Experiment, Training

experiment = Experiment(name={name!r}, seed=SEED, model=MODEL, stages=STAGES, files=FILES, datasets=DATASETS)
training = Training(
    experiment=experiment,
    inputs=INPUT,
    working=WORKING,
    scratch=SCRATCH,
    deadline_s=STARTED_S + STOP_AFTER_S,
    save_interval_s=SAVE_INTERVAL_S,
    model_folder=model_folder,
)
"""

RESULTS = """
import matplotlib.pyplot as plt

for spec in STAGES:
    rows = [row for row in training.rows if row["stage"] == spec.name]
    if rows and spec.kind == "evaluate":
        last = rows[-1]
        print(
            f"{spec.name:20} accuracy {last['accuracy']:6.1%} ({last['accuracy_low']:.1%} to {last['accuracy_high']:.1%})"
            f"   format {last['format']:6.1%}   problems {last['asked']:.0f}"
        )

learnt = [spec for spec in STAGES if any(row["stage"] == spec.name and "loss" in row for row in training.rows)]
if learnt:
    figure, axes = plt.subplots(1, len(learnt), figsize=(5 * len(learnt), 3.2), squeeze=False)
    for axis, spec in zip(axes[0], learnt):
        rows = [row for row in training.rows if row["stage"] == spec.name]
        for name in ("loss",) if spec.kind == "sft" else ("reward", "accuracy", "format"):
            axis.plot([row["step"] for row in rows if name in row], [row[name] for row in rows if name in row], label=name)
        axis.set_title(spec.name)
        axis.set_xlabel("step")
        axis.legend()
    figure.tight_layout()
    figure.savefig(WORKING / "curves.png")
    plt.show()
"""

VARIABLES = """
# Tags of a completion
REASONING_START = "<reasoning>"
REASONING_END = "</reasoning>"
SOLUTION_START = "<answer>"
SOLUTION_END = "</answer>"

# Sampling while training
TEMPERATURE = {temperature!r}
TOP_K = {top_k!r}
TOP_P = {top_p!r}
MAX_GENERATION_STEPS = {max_generation_steps!r}

# Inference: greedy
INF_TEMPERATURE = 0
INF_TOP_K = 1
INF_TOP_P = None
INF_PROMPT_LENGTH = {prompt_length!r}
SEED = {seed!r}

SYSTEM_PROMPT = {system!r}
TEMPLATE = {template!r}

assert TEMPLATE.format(system_prompt=SYSTEM_PROMPT, question="1 + 1?") == prompt_of("1 + 1?", SYSTEM_PROMPT, MODEL["kind"])
"""

INFERENCE = '''
import re

from tunix.generate.sampler import CacheConfig, Sampler
from {package}.stage import StageSpec
from {package}.training.families import without_remat
from {package}.training.initial_state import load_trained


def load_sampler():
    """Load the trained weights from the newest checkpoint into Tunix's sampler."""
    foundation, _ = load_trained(training.context(StageSpec(name="inference", kind="evaluate", steps=1)))
    config = foundation.model.config
    cache = CacheConfig(
        cache_size=INF_PROMPT_LENGTH + MAX_GENERATION_STEPS,
        num_layers=config.num_layers,
        num_kv_heads=config.num_kv_heads,
        head_dim=config.head_dim,
    )
    with without_remat(foundation.model):
        return foundation, Sampler(foundation.model, foundation.tokenizer, cache)


def answer(questions, temperature=INF_TEMPERATURE, top_k=INF_TOP_K, top_p=INF_TOP_P, seed=SEED):
    """Return the model's completion of each question."""
    with foundation.mesh:
        output = sampler(
            input_strings=[TEMPLATE.format(system_prompt=SYSTEM_PROMPT, question=question) for question in questions],
            max_generation_steps=MAX_GENERATION_STEPS,
            max_prompt_length=INF_PROMPT_LENGTH,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
            eos_tokens=list(foundation.stops),
        )
    return output.text


def between(text, start, end):
    found = re.search(re.escape(start) + "(.*?)" + re.escape(end), text, re.DOTALL)
    return found[1].strip() if found else ""


QUESTIONS = [
    "Natalia sold 48 clips in April and half as many in May. How many clips did she sell in both months?",
    "Write a function that returns the sum of the squares of a list of numbers.",
    "Why does the Moon show phases?",
]

if training.has_trained:
    cursor = training.checkpoint.cursor
    print(f"Answers of the model after step {{cursor.step}} of the stage {{cursor.stage}}:\\n")
    foundation, sampler = load_sampler()
    for question, text in zip(QUESTIONS, answer(QUESTIONS)):
        print("Question: ", question)
        print("Reasoning:", between(text, REASONING_START, REASONING_END) or text)
        print("Answer:   ", between(text, SOLUTION_START, SOLUTION_END) or "(none)")
        print()
else:
    print("No step has trained the model yet: run the notebook again with this output as an input.")
'''

LAST = """
training.show_time()
print(f"newest checkpoint: {training.checkpoint.directory}")
print("finished" if training.is_finished else "not finished: run again with this output as an input")
"""


@dataclass(frozen=True)
class NotebookValues:
    """Values of a pipeline that its notebook holds."""

    name: str
    seed: int
    model: dict[str, Any]
    stages: tuple[StageSpec, ...]
    files: dict[str, str]
    datasets: tuple[str, ...]
    packages: tuple[str, ...]
    """Pins that are installed where the lock cannot be used."""
    limit_s: float
    save_interval_s: float
    accelerator: str
    own: dict[str, str]
    """The user's own modules, by file name."""
    model_id: str = ""
    """Kaggle Model with the weights of the unrestricted mode."""
    title: str = ""
    lock: str = ""
    """Text of the lock that sessions install from; empty if the pipeline names packages without one."""
    sessions: int = 0
    """Maximum number of sessions that the training is expected to take; 0 if no time is known of its steps."""


def start_cell(values: NotebookValues) -> str:
    """Return the first code cell; for a GPU it sets what a session of relay sets there before JAX is imported."""
    start = START.format(
        limit_s=values.limit_s, stop_after_s=stop_after_s(values.limit_s), save_interval_s=values.save_interval_s
    )
    settings: dict[str, str] = {}
    accelerator.prepare(HARDWARE[values.accelerator].promise.platform, settings)
    return start + (
        GPU.format(share=settings[accelerator.SHARE_VARIABLE], flag=settings["XLA_FLAGS"]) if settings else ""
    )


def stop_after_s(limit_s: float) -> float:
    """Return when a session ends by itself: 40 minutes before Kaggle's limit of nine hours, or in proportion."""
    return limit_s - min(2400.0, limit_s * 40 / 540)


def install_cell(values: NotebookValues) -> str:
    lock = PackageLock.parse(values.lock) if values.lock else None
    return INSTALL.format(
        packages=written(list(values.packages)),
        lock=lock.requirements(lock.all_pins) if lock else "",
        python=lock.python if lock else "",
        besides=written(list(BESIDES)),
    )


def folders_cell(paths: Sequence[str]) -> str:
    folders = sorted({path.removeprefix(f"{PACKAGE}/").rpartition("/")[0] for path in paths})
    return FOLDERS.format(folders=folders, package=PACKAGE)


def pipeline_cell(values: NotebookValues) -> str:
    """Return the cell with the model, the seed and every stage with its options."""
    stages = "".join(f"    {_stage(spec)},\n" for spec in values.stages)
    return (
        f"from {PACKAGE}.options.model import SYSTEM\nfrom {PACKAGE}.stage import StageSpec\n\nSEED = {values.seed}\n\n"
        f"MODEL = {written(values.model)}\n\nSTAGES = (\n{stages})\n\n"
        f"FILES = {written(values.files)}  # attached data files: name and SHA-256\n"
        f"DATASETS = {values.datasets!r}  # attached datasets\n"
    )


def _stage(spec: StageSpec) -> str:
    shown = written(spec.options, indent=8)
    return f"StageSpec(\n        name={written(spec.name)},\n        kind={written(spec.kind)},\n        steps={spec.steps},\n        options={shown},\n    )"


def written(value: Any, indent: int = 0) -> str:
    """Return a value as Python code, on lines of its own where it is long."""
    space = " " * indent
    match value:
        case str() if value.isprintable():
            return json.dumps(value, ensure_ascii=False)
        case dict() if value:
            items = [f"{written(key)}: {written(item, indent + 4)}" for key, item in value.items()]
            text = f"{{{', '.join(items)}}}"
        case list() if value:
            items = [written(item, indent + 4) for item in value]
            text = f"[{', '.join(items)}]"
        case _:
            return repr(value)
    if len(text) <= 60 and "\n" not in text:
        return text
    lines = "".join(f"{space}    {item},\n" for item in items)
    return f"{text[0]}\n{lines}{space}{text[-1]}"
