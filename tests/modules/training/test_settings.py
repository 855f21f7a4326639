import pydantic
import pytest

from modules.training.settings import TrainingSettings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "give exactly one of `steps` and `epochs`"),
        ({"steps": 1, "epochs": 1}, "give exactly one of `steps` and `epochs`"),
        ({"steps": 1, "batch_size": 8, "micro_batches": 3}, "must divide `batch_size`. Received: 3 and 8"),
        (
            {"steps": 1, "devices": "mirrored", "jit_compile": True},
            "`jit_compile` needs one device.* Received: mirrored",
        ),
        (
            {"steps": 1, "devices": "multi_worker", "lora": {"quantization": "int8"}},
            "no int8 from worker to worker",
        ),
        ({"steps": 1, "dpo": {}, "label_smoothing": 0.1}, r"Received: 0\.1 with `dpo`\. Remove one of them"),
        (
            {"steps": 1, "dpo": {}, "isolate_documents": True},
            r"its own row\. Received: both\. Remove `isolate_documents`",
        ),
        (
            {"steps": 1, "dpo": {}, "distillation": {"teacher": "gpt2_base_en"}},
            r"Received: both\. Remove one of them",
        ),
        ({"steps": 1, "label_smoothing": 1}, "less than 1"),
        ({"steps": 1, "schedule": "step"}, "'cosine', 'linear' or 'constant'"),
        ({"steps": 1, "learning_rate": float("nan")}, "finite"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict, message: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=message):
        TrainingSettings(**settings)


@pytest.mark.parametrize(
    ("length", "steps"),
    [({"steps": 7}, 7), ({"epochs": 1.5}, 15), ({"epochs": 0.44}, 4), ({"epochs": 0.45}, 5), ({"epochs": 0.001}, 1)],
)
def test_epochs_are_rounded_to_steps(length: dict, steps: int) -> None:
    assert TrainingSettings(**length, batch_size=4).count_steps(windows=40) == steps
