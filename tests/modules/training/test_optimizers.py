import keras
import pytest

from modules.training.optimizers import build_optimizer, build_schedule
from tests.toys.training import SETTINGS, changed, tiny_model


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        #             step 0    5     10    20     25      30
        ("cosine", [0.0, 0.005, 0.01, 0.005, 0.001464, 0.0]),
        ("linear", [0.0, 0.005, 0.01, 0.005, 0.0025, 0.0]),
        ("constant", [0.0, 0.005, 0.01, 0.01, 0.01, 0.01]),
    ],
)
def test_rates_rise_to_the_peak_and_then_follow_the_schedule(schedule: str, rates: list[float]) -> None:
    rate = build_schedule(changed(SETTINGS, schedule=schedule), 30)
    assert [float(rate(step)) for step in (0, 5, 10, 20, 25, 30)] == pytest.approx(rates, abs=1e-6)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_without_a_warm_up_the_first_step_has_the_peak_rate(schedule: str) -> None:
    rate = build_schedule(changed(SETTINGS, schedule=schedule, warmup_steps=0), 30)
    assert float(rate(0)) == pytest.approx(0.01)


def test_a_schedule_survives_keras_serialization() -> None:
    rate = build_schedule(changed(SETTINGS, schedule="linear"), 30)
    again = type(rate).from_config(rate.get_config())
    assert float(again(20)) == float(rate(20)) == pytest.approx(0.005)


def test_biases_and_norms_do_not_decay() -> None:
    model = tiny_model()
    optimizer = build_optimizer(SETTINGS, 30)
    optimizer.build(model.trainable_variables)
    decayed = {v.name for v in model.trainable_variables if optimizer._use_weight_decay(v)}
    assert decayed == {"kernel", "embeddings"}


def test_only_float16_scales_the_loss() -> None:
    scaled = [
        precision
        for precision in ("float32", "mixed_bfloat16", "mixed_float16")
        if isinstance(build_optimizer(changed(SETTINGS, precision=precision), 30), keras.optimizers.LossScaleOptimizer)
    ]
    assert scaled == ["mixed_float16"]
