"""Options that do not fit are refused in one sentence that names the key and the remedy, on the laptop already."""

import pytest

from stages.options import Continued, Curate, Evaluate, Grpo, Model, Options, Sft, fit


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (Sft, {"learning_rte": 1.0}, "at.learning_rte is not an option: did you mean 'learning_rate'"),
        (Sft, {"zzz": 1.0}, "at.zzz is not an option; there are b1, .*learning_rate"),
        (Sft, {"batch": "64"}, "at.batch should be int, found '64'"),
        (Sft, {"batch": True}, "at.batch should be int, found True"),
        (Sft, {"learning_rate": "fast"}, "at.learning_rate should be a number, found 'fast'"),
        (Sft, {"mode": "half"}, "at.mode should be full or lora"),
        (
            Sft,
            {"batch": 10, "gradient_accumulation_steps": 4},
            "at.gradient_accumulation_steps should be a divisor of batch",
        ),
        (Sft, {"guard_collapse": 1.5}, "at.guard_collapse should be a share between 0 and 1"),
        (Sft, {"data": "gsm8k"}, "at.data should be a list of names, found 'gsm8k'"),
        (Sft, {"data": ["gsm9k"]}, "at.data should be a list of magpie, ultrafeedback, gsm8k, mbpp"),
        (Sft, {"data": ["gsm8k:none"]}, "at.data should be a list of"),
        (Sft, {"data": []}, "at.data should be a list of"),
        (Sft, {"schedule": "zigzag"}, "at.schedule should be constant, linear or cosine"),
        (Grpo, {"num_generations": 1}, "at.num_generations should be at least 2"),
        (Continued, {"replay": -0.1}, "at.replay should be a share between 0 and 1"),
        (Evaluate, {"batch": 0}, "at.batch should be positive"),
        (
            Grpo,
            {"rewards": {"kindness": 1.0}},
            "at.rewards should be weights of structure, correctness or module:function",
        ),
        (Grpo, {"rewards": ["structure"]}, "at.rewards should name numbers"),
        (Grpo, {"rewards": {"structure": "much"}}, "at.rewards.structure should be a number, found 'much'"),
        (Curate, {"solved_max": 1.0}, "at.solved_max should be a share between 0 and 1"),
        (Curate, {"num_generations": 1}, "at.num_generations should be at least 2"),
        (Model, {"kind": "gemma9"}, "at.kind should be one of gemma2-2b"),
        (Model, {"source": "gemma-2"}, "at.source should be owner/model/framework/variation/version on Kaggle"),
        (Model, {"mesh_tp": 0}, "at.mesh_tp should be positive"),
        (Sft, {"b2": 1.0}, "at.b2 should be a share between 0 and 1, and not 1"),
        (Sft, {"learning_rate": float("nan")}, "at.learning_rate should be a number, found nan"),
        (Sft, {"learning_rate": 10**400}, "at.learning_rate should be a number, found 1000"),
    ],
)
def test_options_that_do_not_fit_are_refused(kind: type[Options], values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit(kind, values, "at")


def test_a_number_that_yaml_reads_as_text_is_a_number() -> None:
    """YAML 1.1 wants a point in 3.0e-6; people write 3e-6."""
    assert fit(Grpo, {"learning_rate": "3e-6", "temperature": 1}, "at") == Grpo(learning_rate=3e-6, temperature=1.0)


def test_rewards_of_the_users_own_are_named_by_module_and_function() -> None:
    assert fit(Grpo, {"rewards": {"correctness": 1, "my.rewards:kind": "5e-1"}}, "at").rewards == {
        "correctness": 1.0,
        "my.rewards:kind": 0.5,
    }


def test_only_a_model_on_kaggle_is_mounted() -> None:
    kaggle, hub, path = (Model(source=source).kaggle_model for source in ("a/b/flax/c/1", "a/b", "/a/b/c/d/e"))
    assert (kaggle, hub, path) == ("a/b/flax/c/1", "", "")
