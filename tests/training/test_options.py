"""Options that do not fit are refused in one sentence that names the key and the remedy, on the laptop already."""

import pytest

from stages.options import Continued, Evaluate, Grpo, Model, Options, Sft, fit


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (Sft, {"learning_rte": 1.0}, "at.learning_rte is not an option; there are accumulate, .*learning_rate"),
        (Sft, {"batch": "64"}, "at.batch should be int, found '64'"),
        (Sft, {"batch": True}, "at.batch should be int, found True"),
        (Sft, {"learning_rate": "fast"}, "at.learning_rate should be a number, found 'fast'"),
        (Sft, {"mode": "half"}, "at.mode should be full or lora"),
        (Sft, {"batch": 10, "accumulate": 4}, "at.accumulate should be a divisor of batch"),
        (Sft, {"noise": 1.5}, "at.noise should be a share between 0 and 1"),
        (Sft, {"schedule": "zigzag"}, "at.schedule should be constant, linear or cosine"),
        (Grpo, {"generations": 1}, "at.generations should be at least 2"),
        (Continued, {"replay": -0.1}, "at.replay should be a share between 0 and 1"),
        (Evaluate, {"batch": 0}, "at.batch should be positive"),
        (Model, {"layers": 3}, "at.layers should be an even number"),
        (Model, {"heads": 4, "kv_heads": 4}, "at.kv_heads should be a proper divisor of heads"),
    ],
)
def test_options_that_do_not_fit_are_refused(kind: type[Options], values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit(kind, values, "at")


def test_a_number_that_yaml_reads_as_text_is_a_number() -> None:
    """YAML 1.1 wants a point in 3.0e-6; people write 3e-6."""
    assert fit(Grpo, {"learning_rate": "3e-6", "temperature": 1}, "at") == Grpo(learning_rate=3e-6, temperature=1.0)
