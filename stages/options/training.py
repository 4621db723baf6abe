"""Options of the built-in stages' `options:` sections."""

from dataclasses import dataclass, field
from typing import Annotated

from stages.options.rules import (
    NOT_NEGATIVE,
    POSITIVE,
    SHARE,
    Rule,
    ValidatedOptions,
    at_least,
    not_negative,
    one_of,
    require,
)

SETS = ("magpie", "ultrafeedback", "gsm8k", "mbpp")
"""Names of the built-in data sets; `stages.data.registry` defines their sources."""

REWARDS = ("structure", "correctness")

DATA = Rule(
    remedy=f"a list of {', '.join(SETS)} (each alone or with a number, gsm8k:500) or .jsonl files of inputs.files",
    choices=SETS,
    form=rf"({'|'.join(SETS)}|[^:]*\.jsonl)(:0*[1-9][0-9]*)?",
)

WEIGHTS = Rule(
    remedy=f"weights of {', '.join(REWARDS)} or module:function",
    choices=REWARDS,
    form=r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*",
)

STEPS_DONE = Rule(remedy="a number of steps above 0 for each learning rate", form="[1-9][0-9]{0,9}", empty=True)

MOMENT = Rule(remedy="a share between 0 and 1, and not 1", least=0, below=1)


@dataclass(frozen=True, kw_only=True)
class Counting(ValidatedOptions):
    """Counts steps. For rehearsing a chain of sessions without JAX."""

    step_s: Annotated[float, NOT_NEGATIVE] = 0.0
    """Duration of each step, in seconds."""
    payload_bytes: Annotated[int, NOT_NEGATIVE] = 64
    """Size of the state in each checkpoint, in bytes."""


@dataclass(frozen=True, kw_only=True)
class Guards(ValidatedOptions):
    """Guards that stop diverging training; 0 turns a guard off."""

    guard_steps: Annotated[int, at_least(10)] = 50
    """Number of past steps that the guards consider."""
    guard_spike: Annotated[float, not_negative("turns the guard off")] = 5.0
    """Ends the session if the loss exceeds its median by this many standard deviations in five consecutive steps."""
    guard_collapse: Annotated[float, SHARE] = 0.5
    """Ends the session if accuracy falls below this share of its best average while format does not fall."""
    guard_idle: Annotated[float, SHARE] = 1.0
    """Ends the session if in each of the last `guard_steps` steps this share of groups has equal rewards: nothing is
    learnt."""
    guard_vanish: Annotated[float, SHARE] = 0.5
    """Ends the session if rounding the weights removes this share or more of the update in five consecutive steps."""


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(Guards):
    """Options of every training stage: data, trained weights and optimizer."""

    data: Annotated[tuple[str, ...], DATA] = ("gsm8k",)
    """Data sets, each `name` or `name:count` for at most `count` examples: magpie, ultrafeedback, gsm8k, mbpp, or a
    `.jsonl` file listed in `inputs.files`."""
    batch: Annotated[int, POSITIVE] = 64
    """Examples per step (prompts, for reinforcement learning)."""
    gradient_accumulation_steps: Annotated[int, POSITIVE] = 1
    """Number of micro-batches that a batch is processed in, to save memory; a divisor of `batch`. The gradient is that
    of the whole batch: the number only changes the order of summation."""
    mode: Annotated[str, one_of("full", "lora")] = "full"
    """Trained weights: `full` trains all weights, `lora` a low-rank adapter beside frozen weights."""
    lora_rank: Annotated[int, POSITIVE] = 8
    """Rank of the adapter's two matrices: a higher rank has more capacity and takes more memory."""
    lora_alpha: Annotated[float, POSITIVE] = 16.0
    """Scale of the adapter: its output is multiplied by `lora_alpha / lora_rank`."""
    lora_targets: str = ".*q_einsum|.*kv_einsum|.*gate_proj|.*down_proj|.*up_proj|.*attn_vec_einsum|.*[qkvo]_proj"
    """Regular expression for the paths of modules that get an adapter. The default matches every matrix of a layer, by
    its name in Gemma (`q_einsum`, `kv_einsum`, `attn_vec_einsum`) or in Qwen and Llama (`q_proj`, `k_proj`, `v_proj`,
    `o_proj`)."""
    learning_rate: Annotated[float, POSITIVE] = 3e-3
    """AdamW learning rate at the end of the warm-up."""
    learning_rate_after: Annotated[dict[str, float], STEPS_DONE] = field(default_factory=dict)
    """Values that replace `learning_rate` after so many steps, such as `{200: 0.001}`; warm-up and decay still apply.
    relay fills it in when the learning rate of a stage under way is changed."""
    schedule: Annotated[str, one_of("constant", "linear", "cosine")] = "cosine"
    """Learning rate after the warm-up: `constant`, or `linear` or `cosine` decay over the stage's steps."""
    decay_steps: Annotated[int, not_negative("stands for the stage's steps")] = 0
    """Number of steps by whose end the learning rate has decayed; it stays at its lowest after them. relay fills it in
    when the number of steps of a stage under way is changed."""
    warmup_steps: Annotated[int, NOT_NEGATIVE] = 10
    """Number of steps in which the learning rate rises to its full value."""
    min_lr_ratio: Annotated[float, NOT_NEGATIVE] = 0.1
    """Final learning rate of the decay, as a share of `learning_rate`."""
    b1: Annotated[float, MOMENT] = 0.9
    """AdamW decay rate of the running mean of gradients."""
    b2: Annotated[float, MOMENT] = 0.99
    """AdamW decay rate of the running mean of squared gradients."""
    weight_decay: Annotated[float, NOT_NEGATIVE] = 0.0
    """AdamW weight decay."""
    clip_norm: Annotated[float, POSITIVE] = 1.0
    """Maximum gradient norm: larger gradients are scaled down to it."""
    probe_problems: Annotated[int, NOT_NEGATIVE] = 0
    """Number of problems evaluated whenever a session starts or resumes the stage, so that the log shows each session's
    gain; 0: none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.batch % self.gradient_accumulation_steps == 0, "gradient_accumulation_steps", "a divisor of batch")
        require(all(rate > 0 for rate in self.learning_rate_after.values()), "learning_rate_after", "of positive rates")


@dataclass(frozen=True, kw_only=True)
class Filtered(ValidatedOptions):
    """Quality filters for training examples. Score filters skip sets without scores; your own files are never filtered."""

    min_score: Annotated[float, not_negative("keeps every answer, even without a score")] = 5.0
    """Minimum score, out of 10, of an ultrafeedback answer; lower ones are left out and counted."""
    min_margin: Annotated[float, not_negative("keeps ties, and answers whose rejected answer has no score")] = 0.5
    """Minimum score difference to ultrafeedback's rejected answer; scores are multiples of 0.5."""
    english_only: bool = True
    """Leaves out problems of magpie and ultrafeedback that are not in English, by magpie's label and by a guess from
    ultrafeedback's words."""
    drop_refusals: bool = True
    """Leaves out ultrafeedback answers that begin with a refusal or mention being an AI."""


@dataclass(frozen=True, kw_only=True)
class Sft(TrainingOptions, Filtered):
    """Trains on worked examples (supervised fine-tuning)."""

    max_seq_length: Annotated[int, POSITIVE] = 1024
    """Maximum length of prompt and completion together, in tokens; longer examples are left out and counted."""
    packing: bool = True
    """Puts several short examples into one row, where none attends to another, so that less is computed. The loss and
    its gradient are those of separate rows, up to rounding; `false` gives each example a row of its own."""


@dataclass(frozen=True, kw_only=True)
class Asking(ValidatedOptions):
    """Length limits of prompts and completions."""

    max_prompt_length: Annotated[int, POSITIVE] = 256
    """Maximum prompt length in tokens; problems with longer prompts are left out and counted."""
    max_completion_length: Annotated[int, POSITIVE] = 768
    """Maximum completion length in tokens; longer completions are truncated."""
    slots: Annotated[int, not_negative("generates up to 128 completions at a time")] = 0
    """Number of completions generated at a time; a step's others wait until one has ended. The key-value cache has so many
    rows. 0: all of a step, at most 128."""
    sampling_dtype: Annotated[str, one_of("same", "bfloat16")] = "same"
    """Type of weights and key-value cache while completions are generated: `same` as `model.dtype`, or `bfloat16`, which
    reads half as much memory per token as float32. A copy of the weights is rounded for it; what is trained stays as it
    is."""


@dataclass(frozen=True, kw_only=True)
class Sampling(Asking):
    """Sampling of completions."""

    temperature: Annotated[float, POSITIVE] = 1.0
    """Sampling temperature: below 1 likely tokens become likelier, above 1 unlikely ones do."""
    top_k: Annotated[int, not_negative("samples from all tokens")] = 0
    """Number of most likely tokens to sample from; 0: all. Training uses the probabilities over all tokens in any
    case."""


@dataclass(frozen=True, kw_only=True)
class Grpo(TrainingOptions, Sampling):
    """Trains on rewards of the model's own completions (Group Relative Policy Optimization, arXiv:2402.03300)."""

    batch: Annotated[int, POSITIVE] = 8
    """Prompts per step."""
    mode: Annotated[str, one_of("full", "lora")] = "lora"
    num_generations: Annotated[int, at_least(2, "each completion is compared with its group")] = 8
    """Completions per prompt (the group size); each is compared with its group."""
    beta: Annotated[float, NOT_NEGATIVE] = 0.04
    """Weight of the KL penalty towards the reference model, which the stage started from; 0 uses no reference model."""
    epsilon: Annotated[float, POSITIVE] = 0.2
    """Lower clip range: a token's ratio of new to old probability is clipped at `1 - epsilon`. With one update per
    batch (`num_iterations: 1`) the ratio is 1 and nothing is clipped."""
    epsilon_high: Annotated[float, not_negative("uses epsilon")] = 0.0
    """Upper clip range: the ratio is clipped at `1 + epsilon_high`. A value above `epsilon` (DAPO's clip-higher: 0.28,
    arXiv:2503.14476) lets unlikely tokens gain more probability. 0: same as `epsilon`."""
    num_iterations: Annotated[int, POSITIVE] = 1
    """Updates per batch of rollouts. From the second on, the rollouts are from an older policy and ratios are clipped.
    The logged metrics of a step (`loss`, `kl`, `grad_norm`) are those of its last update."""
    importance_cap: Annotated[float, not_negative("weighs no token")] = 0.0
    """Bound on importance weights (Yao et al. 2025; TRL's `vllm_importance_sampling_cap`, there 2): each token's loss is
    multiplied by its probability as the trainer computes it, divided by that of the sampler, at most this. 0: off, since
    both compute with the same weights in the same type; the metric `sampler_kl` measures how far they differ."""
    loss_type: Annotated[str, one_of("grpo", "dapo", "dr_grpo")] = "dapo"
    """Weighting of tokens in the loss. `grpo` averages each completion over its tokens, then over completions
    (arXiv:2402.03300): tokens of long completions count less, which favours short correct and long wrong ones. `dapo`
    averages over all tokens (arXiv:2503.14476). `dr_grpo` divides by the constant `max_completion_length`
    (arXiv:2503.20783)."""
    scale_rewards: Annotated[str, one_of("group", "none")] = "group"
    """Scaling of advantages. `group` divides a completion's advantage by the standard deviation of its group's rewards
    (GRPO). `none` does not (Dr. GRPO, arXiv:2503.20783), so that groups with similar rewards count little."""
    mask_truncated_completions: bool = False
    """Excludes completions truncated at `max_completion_length` from the loss (DAPO's overlong filtering)."""
    overlong_buffer: Annotated[int, not_negative("applies no penalty")] = 0
    """Number of tokens before `max_completion_length` over which the reward falls linearly by `overlong_penalty`
    (DAPO's soft overlong punishment, arXiv:2503.14476)."""
    overlong_penalty: Annotated[float, NOT_NEGATIVE] = 1.0
    """Penalty on the reward of a completion of `max_completion_length` tokens, if `overlong_buffer` is set."""
    dynamic_sampling: Annotated[int, not_negative("samples once")] = 0
    """Maximum number of extra sampling rounds per step that replace groups with equal rewards, from which nothing is
    learnt (DAPO, arXiv:2503.14476). Each round costs as much as the step's first."""
    rewards: Annotated[dict[str, float], WEIGHTS] = field(
        default_factory=lambda: {"structure": 1.0, "correctness": 1.0}
    )
    """Weight of each reward: structure, correctness, or your own as `module:function`."""
    show_every: Annotated[int, not_negative("shows nothing")] = 25
    """Interval, in steps, at which the log shows a prompt with its best and its worst completion; 0: never."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.overlong_buffer < self.max_completion_length, "overlong_buffer", "less than max_completion_length")


@dataclass(frozen=True, kw_only=True)
class Continued(Grpo):
    """GRPO on the hard problems of the last `curate` stage. Replay of others preserves format and easy problems."""

    replay: Annotated[float, SHARE] = 0.5
    """Share of prompts sampled from all training problems."""


@dataclass(frozen=True, kw_only=True)
class Curate(Sampling):
    """Chooses the hard problems: those that the current model solves in some but not in most of its completions."""

    data: Annotated[tuple[str, ...], DATA] = ("gsm8k",)
    """Data sets, as for training."""
    batch: Annotated[int, POSITIVE] = 16
    """Problems per step; `steps` times `batch` problems are tried."""
    num_generations: Annotated[int, at_least(2, "some but not most of them have to succeed")] = 4
    """Completions per problem."""
    solved_max: Annotated[float, Rule(remedy="a share between 0 and 1", above=0, below=1)] = 0.5
    """Maximum share of correct completions of a hard problem."""
    hard_min: Annotated[int, Rule(remedy="positive: continued training needs at least one problem", above=0)] = 8
    """Minimum number of hard problems. If fewer are found, unsolved ones with the hardest labels and longest solutions
    are added."""


@dataclass(frozen=True, kw_only=True)
class Evaluate(Asking):
    """Evaluates on held-out problems, with one greedy completion each."""

    data: Annotated[tuple[str, ...], DATA] = ("gsm8k",)
    """Data sets, as for training."""
    batch: Annotated[int, POSITIVE] = 64
    """Problems per step; no problem is evaluated twice, however many steps there are."""
    transcripts: Annotated[int, NOT_NEGATIVE] = 100
    """Number of completions kept for reading: wrong ones first, and a quarter of them for the same problems in every
    evaluation."""


@dataclass(frozen=True, kw_only=True)
class Answer(Asking):
    """Answers the questions of a JSON Lines file: each line has a `question` and optionally an `id`. `steps` has to be
    the number of questions divided by `batch`, rounded up."""

    questions: Annotated[str, Rule(remedy="a .jsonl file of inputs.files", form=r"[^/:]+\.jsonl")] = "questions.jsonl"
    """Name of the file, which `inputs.files` lists."""
    batch: Annotated[int, POSITIVE] = 16
    """Questions per step."""
    temperature: Annotated[float, not_negative("always takes the likeliest token")] = 0.0
    """Sampling temperature: below 1 likely tokens become likelier, above 1 unlikely ones do."""
    top_k: Annotated[int, not_negative("samples from all tokens")] = 0
    """Number of most likely tokens to sample from; 0: all."""
    top_p: Annotated[float, Rule(remedy="a share above 0, at most 1", above=0, most=1)] = 1.0
    """Total probability of the most likely tokens to sample from."""

    def steps_for(self, questions: int) -> int:
        """Return the number of steps that answer this many questions."""
        return -(-questions // self.batch)


@dataclass(frozen=True, kw_only=True)
class Export(ValidatedOptions):
    """Writes the model in a format of other programs to the session's output; `steps` has to be 1."""

    format: Annotated[str, one_of("safetensors", "peft", "tunix")] = "safetensors"
    """Format: `safetensors` is a Hugging Face folder, `peft` the adapter alone, `tunix` a checkpoint that Tunix's own
    loaders read."""
    dtype: Annotated[str, one_of("auto", "bfloat16", "float32")] = "auto"
    """Type of the written numbers. `auto` is `model.dtype`, and `float32` for an adapter."""


def set_and_count(name: str) -> tuple[str, int]:
    """Split a data entry, such as `gsm8k:500` into (`gsm8k`, 500); a count of 0 means all."""
    found, _, count = name.partition(":")
    return found, int(count or 0)
