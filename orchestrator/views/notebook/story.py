"""Sections of a notebook, in the order in which a reader and the hackathon's judges expect them."""

from collections.abc import Iterator, Sequence

from orchestrator.views.format import ACCELERATOR_NAMES
from orchestrator.views.notebook import code_cells as cells_of
from orchestrator.views.notebook import texts
from orchestrator.views.notebook.cells import NotebookCell, code, markdown, module_cells
from orchestrator.views.notebook.code_cells import NotebookValues
from orchestrator.views.notebook.library import PACKAGE, RUN_STAGES, LibraryModule, in_notebook
from stages import options
from stages.contract import StageSpec
from stages.data.prompts import prompt_of
from stages.options import Grpo, Model


def story(values: NotebookValues, modules: Sequence[LibraryModule]) -> list[NotebookCell]:
    """Return all cells of the notebook."""
    shown = [module for module in modules if not module.is_bare]
    return [
        *_strategy(values),
        *_setup(values, modules),
        *_data(values, shown),
        *_code(values, shown),
        *_variables(values),
        *_inference(),
        *_unrestricted(values),
        *_others(values),
    ]


def _strategy(values: NotebookValues) -> Iterator[NotebookCell]:
    rows = "".join(
        f"| {number} | `{spec.name}` | {texts.title_of(spec)} | {spec.steps:,} | {', '.join(texts.data_of(spec))} |\n"
        for number, spec in enumerate(values.stages, 1)
    )
    model = options.fit(Model, values.model, "model")
    yield markdown(
        f"# {values.title}\n\n"
        f"This notebook trains **{model.source}** with [Tunix](https://github.com/google/tunix) so that it reasons before it "
        "answers:\n\n```\n<reasoning>how the answer is found</reasoning>\n<answer>the answer</answer>\n```\n\n"
        f"**To run it**: {_to_run(values, model)}"
    )
    yield markdown(
        "## Overall training and evaluation strategy\n\n"
        f"The training has {len(values.stages)} stages. Each starts from the weights that the one before it left.\n\n"
        f"| | stage | what | steps | data |\n|---|---|---|---|---|\n{rows}\n"
        f"{texts.about_strategy(values.stages)}\n"
        "* **Every number can be computed again.** Data, their order, completions and updates depend on the seed alone. A "
        "session that ends early is continued from its checkpoint, with the same weights, bit for bit, as without the cut."
    )


def _to_run(values: NotebookValues, model: Model) -> str:
    attached = [f"the model `{model.kaggle_model}` (accept its licence first)"] if model.kaggle_model else []
    attached += [f"the dataset `{name}`" for name in values.datasets]
    attached += [f"a dataset with the file `{name}`" for name in values.files]
    inputs = f"attach {', '.join(attached)}, " if attached else ""
    hours = cells_of.stop_after_s(values.limit_s) / 3600
    limit = f"{values.limit_s / 3600:g} hours"
    expected = ""
    if values.sessions == 1:
        expected = f"All of it is expected to fit into one session of {limit}. "
    elif values.sessions:
        expected = f"All of it is expected to take up to {values.sessions} sessions of {limit}. "
    return (
        f"{inputs}choose the accelerator {ACCELERATOR_NAMES.get(values.accelerator, 'None (CPU)')}, allow internet access, and *Save & Run All*. The session stops by "
        f"itself after {hours:.1f} hours and saves a checkpoint. {expected}If it was not finished, it goes on in another session: add "
        "the notebook's own output as an input and run it again, and it finds the checkpoint.\n\nLong modules are folded away; open the cells to read them."
    )


def _setup(values: NotebookValues, modules: Sequence[LibraryModule]) -> Iterator[NotebookCell]:
    yield markdown(
        "## Setup\n\nThe clock starts here. The deadline is checked after every step, so the notebook always ends normally."
    )
    yield code(cells_of.start_cell(values))
    yield markdown(
        "The packages, in the versions with which the numbers can be computed again. The lock names every package with the "
        "SHA-256 of its files."
        if values.lock
        else "The packages. The pipeline names them without a lock: those that they depend on may have other versions each time."
    )
    yield code(cells_of.install_cell(values), hidden=bool(values.lock))
    yield markdown(
        f"The cells below write the modules of a small package, `{PACKAGE}`. First what all stages share: the interface "
        "between a stage and this notebook, and the options with their meaning, bounds and defaults."
    )
    yield code(cells_of.folders_cell([module.path for module in modules]))
    modules = [module for module in modules if not module.is_bare]
    for module in modules:
        if module.group in ("", "stage", "options"):
            yield from module_cells(module)
    yield markdown(
        "### The pipeline\n\nEverything that the weights depend on. Options that are not named have their defaults."
    )
    yield code(cells_of.pipeline_cell(values))


def _data(values: NotebookValues, modules: Sequence[LibraryModule]) -> Iterator[NotebookCell]:
    names = texts.sets_of(values.stages)
    yield markdown(
        f"## How the fine-tuning data set is created\n\n{texts.about_sets(names, values.files)}\n\n"
        "Attached copies are used if there are any; otherwise the rows are fetched from the Hugging Face hub at the revision "
        f"named above.\n\n{texts.about_filters([spec for spec in values.stages if spec.kind in texts.KIND_TITLES])}"
    )
    for module in modules:
        if module.group == "data":
            yield from module_cells(module)
    yield markdown("One training example of each set, as the model sees it:")
    yield code(cells_of.EXAMPLES.format(package=PACKAGE, names=names))


def _code(values: NotebookValues, modules: Sequence[LibraryModule]) -> Iterator[NotebookCell]:
    yield markdown(
        "## The Tunix fine-tuning code\n\n"
        "Tunix supplies the models, the samplers, and the trainers (`PeftTrainer`, `RLCluster`). The modules below load the "
        "weights, put adapters beside them, keep what is trained in float32, compute the losses, and store checkpoints."
    )
    yield markdown("### Model, adapters, optimizer, losses and checkpoints")
    for module in modules:
        if module.group == "training":
            yield from module_cells(module, hidden=module.name != "training.steps")
    if any(module.group == "rewards" for module in modules):
        yield markdown(
            "### Rewards\n\nThe format reward is strict: exactly one reasoning, then exactly one answer. The answer is then "
            "compared with the reference. Mathematics is read by a grammar, so that `1/2`, `0.5` and `\\frac{1}{2}` are equal "
            "and `12 or 13` equals nothing. Python runs in a process without network and files, with limits on time and memory."
        )
        for module in modules:
            if module.group == "rewards":
                yield from module_cells(module, hidden=module.name not in ("rewards.structure", "rewards.correctness"))
    yield markdown(
        "### The session\n\nThe loop around the stages: it finds the newest checkpoint in the output or below the inputs, runs "
        "each stage's remaining steps, checks the deadline after each step, and saves."
    )
    for module in modules:
        if module.name == RUN_STAGES:
            yield from module_cells(module, hidden=False)
    if options.fit(Model, values.model, "model").kaggle_model:
        yield markdown("The base model: mounted, or else downloaded with kagglehub.")
        yield code(cells_of.DOWNLOAD.format(package=PACKAGE))
    else:
        yield code('model_folder = ""  # the stages find the model themselves, or fetch it from the Hugging Face hub')
    yield code(cells_of.TRAINING.format(package=PACKAGE, name=values.name))
    for path, text in values.own.items():
        yield markdown(f"#### `{path}`\n\nA module of this pipeline's own.")
        yield code(f"%%writefile {path}\n{in_notebook(text)}")
    yield from _stages(values, {module.name: module for module in modules})
    yield markdown("### Results\n\nEvaluations, and the curves of what was trained.")
    yield code(cells_of.RESULTS)


def _stages(values: NotebookValues, modules: dict[str, LibraryModule]) -> Iterator[NotebookCell]:
    shown: set[str] = set()
    for number, spec in enumerate(values.stages, 1):
        yield markdown(
            f"### Stage {number}: {texts.title_of(spec)} (`{spec.name}`)\n\n{texts.about_stage(spec, values.stages)}{_differences(spec)}"
        )
        for name in ("grpo", "continued") if spec.kind == "continued" else (spec.kind,):
            if name in modules and name not in shown:
                shown.add(name)
                yield from module_cells(modules[name], hidden=False)
        module, _, function = spec.kind.partition(":")
        if function:
            yield code(f"import {module}\n\ntraining.run({cells_of.written(spec.name)}, {module}.{function})")
        else:
            yield code(f"from {PACKAGE} import {module}\n\ntraining.run({cells_of.written(spec.name)}, {module}.train)")


def _differences(spec: StageSpec) -> str:
    """Return the stage's options as the pipeline gives them, in small print."""
    if not spec.options:
        return ""
    return "\n\n" + ", ".join(f"`{name}` {_shown(value)}" for name, value in spec.options.items())


def _shown(value: object) -> str:
    match value:
        case list() | tuple():
            return " ".join(map(str, value))
        case dict():
            return ", ".join(f"{name} {weight}" for name, weight in value.items())
    return str(value)


def _variables(values: NotebookValues) -> Iterator[NotebookCell]:
    model = options.fit(Model, values.model, "model")
    known = [spec for spec in values.stages if spec.kind in texts.KIND_TITLES]
    limits = next(texts.asked(known), None)
    grpo = limits if isinstance(limits, Grpo) else None
    asked = limits or options.Asking()
    yield markdown(
        "## Variables\n\nThe tags, the template and the sampling parameters that the model was trained with, and those for "
        "inference."
    )
    yield code(
        cells_of.VARIABLES.format(
            temperature=grpo.temperature if grpo else None,
            top_k=(grpo.top_k or None) if grpo else None,
            top_p=1.0 if grpo else None,
            max_generation_steps=asked.max_completion_length,
            prompt_length=max(512, asked.max_prompt_length),
            seed=values.seed,
            system=model.system,
            template=template(model.system, model.kind),
        )
    )


def template(system: str, kind: str = "gemma2") -> str:
    """Return the template of a prompt for a kind of model, with places for `system_prompt` and `question`."""
    text = prompt_of("\0question", "\0system" if system else "", kind)
    return (
        text.replace("{", "{{")
        .replace("}", "}}")
        .replace("\0question", "{question}")
        .replace("\0system", "{system_prompt}")
    )


def _inference() -> Iterator[NotebookCell]:
    yield markdown(
        "## Inference\n\nThe newest checkpoint in Tunix's sampler, asked greedily, whether all stages are finished or not."
    )
    yield code(cells_of.INFERENCE.format(package=PACKAGE))


def _unrestricted(values: NotebookValues) -> Iterator[NotebookCell]:
    if values.model_id:
        text = (
            f"The weights after all sessions are the Kaggle Model "
            f"[{values.model_id}](https://www.kaggle.com/models/{values.model_id}). Its files have the layout that Tunix's own "
            "loader reads; the prompts and tags are those above."
        )
    else:
        text = "The weights of this notebook are not published as a Kaggle Model."
    yield markdown(f"## Unrestricted mode\n\n{text}")
    yield code(f"unrestricted_kaggle_model = {values.model_id or None!r}")


def _others(values: NotebookValues) -> Iterator[NotebookCell]:
    licences = ", ".join(texts.licences(texts.sets_of(values.stages)))
    yield markdown(
        "## Other things\n\n"
        "* **Checkpoints** lie in `checkpoints/` of the output: weights or adapters, the optimizer, a record of the rows that "
        "were read, the metrics of every step, and in `artifacts/` the transcripts of evaluations.\n"
        "* **Changing the pipeline**: a checkpoint is continued if everything up to its own stage is as it was. Later stages may "
        "be changed or added.\n"
        f"* **Licences**: the base model's own terms; data sets: {licences or 'see their pages'}."
    )
    yield code(cells_of.LAST)
