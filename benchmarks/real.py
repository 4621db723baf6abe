"""Train a real Gemma 3 270M on real problems, in several sessions, one of which is killed, and test what it learnt.

    python -m benchmarks.real WORK --model DIR --data DIR --seeds 0 1 --ablation --plot real.png
    python -m benchmarks.real WORK --model DIR --data DIR --seeds 0 --steps 0.1             # a tenth of all steps

`--model` is the base model's folder as at Hugging Face, `--data` a folder with `gsm8k_train.jsonl`, `gsm8k_test.jsonl` and
`mbpp.jsonl`. Each seed is a chain of examples/gemma3_270m.yaml: relay's daemon against the local Kaggle, whose sessions end after an hour,
and one of which is killed in the middle of GRPO. `--ablation` adds a chain without SFT, with the first seed: GRPO straight on
the base model. On two cores a chain takes hours. What it found is kept in WORK, and a chain that is there is not run again;
one that was interrupted goes on from its newest checkpoint, on a new local Kaggle that has none of its sessions and datasets.

Printed are format and accuracy of each evaluation, and gains over the same held-out problems with their 95 % interval. The
reward is the one that GRPO trains on, of the word problems alone. Several seeds are averaged problem by problem first.
Expected: less than a tenth of the base model's answers have the format, and at least 0.95 after SFT and after GRPO; GRPO
raises the mean reward above SFT's by more than the interval; without SFT it stays below by more than the interval. The exit
status is 1 if one of these does not hold.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from benchmarks.paired import Gain, averaged, gain

EXAMPLES = Path(__file__).parents[1] / "examples"
EXAMPLE = EXAMPLES / "gemma3_270m.yaml"
PROBLEMS = "word_problems.jsonl"
FILES = ("gsm8k_train.jsonl", "gsm8k_test.jsonl", "mbpp.jsonl")
SESSION_S = 3600
FORMAT_BASE_MAX, FORMAT_MIN = 0.1, 0.95
ABLATION = ("base", "grpo", "after-grpo")
"""Stages of the chain without SFT."""

Verdicts = list[dict[str, Any]]
"""Rows of `verdicts-<stage>.jsonl`: key, set, format, right."""


@dataclass(frozen=True)
class Chain:
    """What a chain found: the verdicts of each evaluation, and how its sessions ended."""

    seed: int
    sft: bool
    """False for the ablation."""
    verdicts: Mapping[str, Verdicts]
    sessions: int

    @property
    def name(self) -> str:
        return f"{'seed' if self.sft else 'ablation'}-{self.seed}"

    def rewards(self, stage: str, weights: Mapping[str, float]) -> dict[str, float]:
        """Return the reward of each word problem's answer, by the problem's key."""
        return {
            row["key"]: weights["structure"] * row["format"] + weights["correctness"] * row["right"]
            for row in self.verdicts[stage]
            if row["set"] == PROBLEMS
        }


# --- run ---------------------------------------------------------------------


def pipeline_for(seed: int, model: Path, share: float, *, sft: bool) -> dict[str, Any]:
    """Return the example with the real model and files, `share` of its steps and, without `sft`, fewer stages."""
    pipeline: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    pipeline["seed"] = seed
    pipeline["model"]["source"] = str(model.absolute())
    pipeline["session"]["limit_s"] = SESSION_S
    pipeline["inputs"]["files"] = [PROBLEMS, *FILES]
    if not sft:
        pipeline["stages"] = [stage for stage in pipeline["stages"] if stage["name"] in ABLATION]
    for stage in pipeline["stages"]:
        stage["steps"] = max(1, round(stage["steps"] * share))
        if stage["kind"] == "grpo" and not sft:
            stage["options"] = {**stage["options"], "guard_idle": 0.0}  # no reward at all is what it may well show
    return pipeline


def faults_for(pipeline: Mapping[str, Any]) -> dict[str, Any]:
    """Return a fault plan that kills a session in the middle of GRPO."""
    steps = next(stage["steps"] for stage in pipeline["stages"] if stage["name"] == "grpo")
    return {"seed": 7, "sessions": [{"action": "kill", "stage": "grpo", "step": max(1, steps // 2), "within_s": 0.5}]}


def run(work: Path, model: Path, data: Path, seed: int, share: float, *, sft: bool) -> Chain:
    """Return what a chain found, which is run unless WORK has it. Raises SystemExit if it does not finish."""
    name = Chain(seed, sft, {}, 0).name
    done = work / f"{name}.json"
    if not done.is_file():
        found = _rehearsed(work / name, model, data, seed, share, sft=sft)
        part = done.with_suffix(".part")
        part.write_text(json.dumps(found), encoding="utf-8")
        part.replace(done)
    kept = json.loads(done.read_text(encoding="utf-8"))
    if kept["share"] != share:
        raise SystemExit(f"{done} has {kept['share']:g} of all steps and --steps is {share:g}: name another WORK")
    return Chain(seed, sft, kept["verdicts"], kept["sessions"])


def _rehearsed(folder: Path, model: Path, data: Path, seed: int, share: float, *, sft: bool) -> dict[str, Any]:
    pipeline = pipeline_for(seed, model, share, sft=sft)
    text = yaml.safe_dump(pipeline, sort_keys=False)
    file = folder / "pipeline.yaml"
    if file.is_file() and file.read_text(encoding="utf-8") != text:
        raise SystemExit(f"{folder} holds a chain of another pipeline: name another WORK")
    folder.mkdir(parents=True, exist_ok=True)
    for path in (EXAMPLES / PROBLEMS, *(data / name for name in FILES)):
        if not path.is_file():
            raise SystemExit(f"{path} is missing: name a folder with the public GSM8K and MBPP files in --data")
        shutil.copy(path, folder / path.name)
    file.write_text(text, encoding="utf-8")
    (folder / "pipeline.faults.yaml").write_text(yaml.safe_dump(faults_for(pipeline)), encoding="utf-8")
    home = folder / "home"
    with local_kaggle(folder) as environment:
        document = _carried_out(Relay(home, environment), file)
    if document["state"] != "finished":
        raise SystemExit(f"{folder}: the run is {document['state']}: relay --home {home} status says why")
    artifacts = Relay(home, {}).document("artifacts", document["id"])["artifacts"]
    paths = {each["name"]: Path(each["path"]) for each in artifacts}
    verdicts = {
        stage["name"]: [
            json.loads(line)
            for line in paths[f"verdicts-{stage['name']}.jsonl"].read_text(encoding="utf-8").splitlines()
        ]
        for stage in pipeline["stages"]
        if stage["kind"] == "evaluate"
    }
    return {"share": share, "verdicts": verdicts, "sessions": len(document["sessions"])}


@dataclass(frozen=True)
class Relay:
    """Relay's commands on one home folder, with the environment variables that name a Kaggle."""

    home: Path
    environment: Mapping[str, str]

    def command(self, *arguments: str) -> list[str]:
        """Return the command line."""
        return [sys.executable, "-m", "orchestrator", "--home", str(self.home), *arguments]

    def do(self, *arguments: str) -> int:
        """Run a command whose output is for people, and return its exit status."""
        environment = {**os.environ, **self.environment}
        return subprocess.run(
            self.command(*arguments), stdout=sys.stderr, env=environment, cwd=EXAMPLES.parent
        ).returncode

    def document(self, *arguments: str) -> Any:
        """Return what a command prints with `--json`. Raises SystemExit if it prints nothing."""
        command = self.command(*arguments, "--json")
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=EXAMPLES.parent)
        if not done.stdout.strip():
            raise SystemExit(f"{' '.join(command)} failed with exit status {done.returncode}")
        return json.loads(done.stdout)

    def newest(self) -> dict[str, Any] | None:
        """Return the newest run's document; None if there is no run yet."""
        runs: list[dict[str, Any]] = self.document("status")["runs"] if (self.home / "relay.db").is_file() else []
        return runs[0] if runs else None


@contextlib.contextmanager
def local_kaggle(folder: Path) -> Iterator[dict[str, str]]:
    """Run a local Kaggle for the pipeline in `folder`, and yield the environment variables by which relay finds it."""
    command = Relay(folder / "kaggle", {}).command("rehearse", str(folder / "pipeline.yaml"), "--serve", "--json")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=EXAMPLES.parent) as server:
        assert server.stdout is not None
        try:
            told = server.stdout.readline()
            if not told:
                raise SystemExit("the local Kaggle did not start")
            yield json.loads(told)["environment"]
        finally:
            server.terminate()


def _carried_out(relay: Relay, file: Path) -> dict[str, Any]:
    """Begin the chain, or go on from its newest checkpoint, and return the run's document once it has settled."""
    before = relay.newest()
    if before is not None and before["state"] != "finished":
        relay.do("resume", before["id"], "--abandon-session")  # its Kaggle is gone, and its session with it
    relay.do("up", str(file))
    document = relay.newest()
    if before is not None and document is not None and document["state"] == "parked":
        relay.do("retry", document["id"])  # this Kaggle lacks the checkpoint's dataset: it is published once more
        relay.do("up", str(file))
        document = relay.newest()
    if document is None:
        raise SystemExit(f"{file}: the run did not begin")
    return document


# --- judge -------------------------------------------------------------------


def format_rate(verdicts: Verdicts) -> float:
    """Return the share of answers that have the format, over all sets."""
    return fmean(row["format"] for row in verdicts)


def gains(chains: Sequence[Chain], weights: Mapping[str, float]) -> dict[str, Gain]:
    """Return the gains in mean reward that are expected to be positive, by what they compare."""

    def rewards(stage: str, *, sft: bool) -> dict[str, float]:
        return averaged([chain.rewards(stage, weights) for chain in chains if chain.sft is sft])

    trained = rewards("after-grpo", sft=True)
    found = {"GRPO above SFT": gain(rewards("after-sft", sft=True), trained)}
    if last := rewards("after-grpo", sft=False):
        found["SFT and GRPO above GRPO alone"] = gain(last, trained)
    return found


def shortfalls(chains: Sequence[Chain], found: Mapping[str, Gain]) -> list[str]:
    """Return the expectations that do not hold."""
    missed = [f"{what}: {each} is not above zero" for what, each in found.items() if not each.is_positive]
    for chain in chains:
        rates = {stage: format_rate(rows) for stage, rows in chain.verdicts.items()}
        if rates["base"] >= FORMAT_BASE_MAX:
            missed.append(f"{chain.name}: {rates['base']:.3f} of the base model's answers have the format")
        for stage in ("after-sft", "after-grpo") if chain.sft else ():
            if rates[stage] < FORMAT_MIN:
                missed.append(f"{chain.name}: only {rates[stage]:.3f} of the answers have the format {stage}")
    return missed


def rows(chain: Chain, weights: Mapping[str, float]) -> list[str]:
    """Format the lines of one chain: an evaluation each."""
    lines = []
    for stage, verdicts in chain.verdicts.items():
        right = {name: [row["right"] for row in verdicts if row["set"] == name] for name in (PROBLEMS, "gsm8k", "mbpp")}
        shares = "".join(f"{fmean(each):9.3f}" if each else f"{'':9}" for each in right.values())
        reward = fmean(chain.rewards(stage, weights).values())
        lines.append(f"{chain.name:12} {stage:12} {len(verdicts):5} {format_rate(verdicts):8.3f}{shares} {reward:8.3f}")
    return lines


HEADER = (
    f"{'chain':12} {'evaluation':12} {'asked':>5} {'format':>8} {'words':>8} {'gsm8k':>8} {'mbpp':>8} {'reward':>8}"
)


def plot(chains: Sequence[Chain], weights: Mapping[str, float], path: Path) -> None:
    """Plot format and mean reward of each evaluation, a line for each chain."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    panels = figure.subplots(1, 2)
    names = list(max(chains, key=lambda chain: len(chain.verdicts)).verdicts)
    for chain in chains:
        at = [names.index(stage) for stage in chain.verdicts]
        style = "-" if chain.sft else "--"
        rates = [format_rate(verdicts) for verdicts in chain.verdicts.values()]
        means = [fmean(chain.rewards(stage, weights).values()) for stage in chain.verdicts]
        for panel, values in zip(panels, (rates, means), strict=True):
            panel.plot(at, values, style, marker="o", label=f"{chain.name}{'' if chain.sft else ', no SFT'}")
    for panel, title in zip(panels, ("answers in the format, all sets", "mean reward, word problems"), strict=True):
        panel.set_title(title)
        panel.set_xticks(range(len(names)), names)
        panel.set_ylim(0, None)
        panel.grid(alpha=0.3)
    panels[1].legend(fontsize="small")
    figure.savefig(path, dpi=120)


def main() -> int:
    """Run the chains that WORK lacks. Return exit status 1 if an expectation does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="folder for the chains and what they found")
    parser.add_argument("--model", type=Path, required=True, help="folder of the base model as at Hugging Face")
    parser.add_argument("--data", type=Path, required=True, help="folder with GSM8K and MBPP")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--ablation", action="store_true", help="also run a chain without SFT")
    parser.add_argument("--steps", type=float, default=1.0, metavar="SHARE", help="share of the example's steps")
    parser.add_argument("--plot", type=Path, help="write a plot of all chains to this file")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as after Ctrl-C, nothing that it started stays behind
    if asked.steps <= 0:
        raise SystemExit("--steps: a share above 0")
    example = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    weights = next(stage["options"]["rewards"] for stage in example["stages"] if stage["name"] == "grpo")
    print(HEADER)
    chains: list[Chain] = []
    for sft in (True, False) if asked.ablation else (True,):
        for seed in asked.seeds if sft else asked.seeds[:1]:
            chains.append(run(asked.work, asked.model, asked.data, seed, asked.steps, sft=sft))
            print("\n".join(rows(chains[-1], weights)), flush=True)
    found = gains(chains, weights)
    print(f"sessions: {', '.join(f'{chain.name} {chain.sessions}' for chain in chains)}")
    print("\n".join(f"mean reward of word problems, {what}: {each}" for what, each in found.items()))
    if asked.plot:
        plot(chains, weights, asked.plot)
    missed = shortfalls(chains, found)
    print("\n".join(missed) or "as expected")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
