"""The estimate of a training run's memory, compared with published counts and with real runs."""

import json
import subprocess
import sys
from typing import Any

import keras_hub
import pytest

from modules.model import lora
from modules.model.settings import ModelSettings, Sizes
from modules.training.memory import Architecture, MemoryEstimate, count_adapters, estimate_memory, read_architecture
from modules.training.settings import TrainingSettings
from tests.toys.checkout import ROOT

MODEL = {"num_layers": 4, "num_heads": 4, "hidden_dim": 256, "context_length": 128}


def architecture(preset: str) -> Architecture:
    found = read_architecture(ModelSettings(preset=preset), None)
    assert found is not None
    return found


def estimated(model: dict[str, Any] = MODEL, vocabulary_size: int = 1000, **training: Any) -> MemoryEstimate:
    settings = ModelSettings(**model)
    sizes = read_architecture(settings, vocabulary_size)
    assert sizes is not None
    training_settings = TrainingSettings(**{"steps": 1, "batch_size": 16, **training})
    return estimate_memory(sizes, training_settings, context_length=settings.context_length, dropout=settings.dropout)


@pytest.mark.parametrize(
    ("preset", "parameters"),
    [("gpt2_base_en", 124_439_808), ("gpt2_medium_en", 354_823_168), ("gpt2_large_en", 774_030_080)],
)
def test_parameters_are_those_that_are_published(preset: str, parameters: int) -> None:
    assert architecture(preset).parameters == parameters


def test_the_largest_gpt2_has_1558_million_parameters() -> None:
    assert architecture("gpt2_extra_large_en").parameters == 1_557_611_200


def test_a_preset_that_is_not_here_has_no_sizes() -> None:
    assert read_architecture(ModelSettings(preset="kaggle://keras/gpt2/keras/gpt2_base_en"), None) is None


def test_gpt2_small_takes_what_the_page_of_training_states() -> None:
    # 8 windows of 256, measured: 6.3 GB, with rematerialization 4.7, of which TensorFlow itself takes about 1.
    small = {"size": "small", "context_length": 256}
    assert 3.5e9 < estimated(small, 50257, batch_size=8).total < 6.3e9
    assert 2.5e9 < estimated(small, 50257, batch_size=8, remat=True).total < 4.7e9


def test_settings_that_save_memory_are_estimated_lower() -> None:
    plain = estimated()
    assert estimated(precision="mixed_bfloat16").activations == plain.activations / 2
    assert estimated(micro_batches=4).activations == plain.activations / 4
    assert estimated(micro_batches=4).batch == plain.batch
    assert estimated(remat=True).activations < plain.activations
    assert estimated(lora={"rank": 1}).optimizer < plain.optimizer / 100
    assert estimated(dpo={}).activations == 2 * plain.activations
    assert estimated(distillation={"teacher": "gpt2_base_en"}).teacher > 0


def test_adapters_are_counted_as_keras_makes_them() -> None:
    every = lora.LoraSettings(
        rank=3,
        targets=("query", "key", "value", "attention_output", "feedforward_intermediate", "feedforward_output"),
    )
    sizes = Sizes(num_layers=2, num_heads=2, hidden_dim=8, intermediate_dim=24)
    backbone = keras_hub.models.GPT2Backbone(vocabulary_size=10, max_sequence_length=8, **sizes._asdict())
    lora.apply(backbone, every)
    assert count_adapters(sizes, every) == lora.trainable_parameters(backbone)


def test_a_real_run_takes_what_is_estimated() -> None:
    training = {"steps": 2, "batch_size": 32}
    request = json.dumps({"model": MODEL, "vocabulary_size": 2000, "training": training})
    output = subprocess.run(
        [sys.executable, "-m", "tests.toys.peak_memory", request], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    measured = json.loads(output.splitlines()[-1])
    estimate = estimated(MODEL, 2000, **training)
    assert estimate.total > 100e6
    # Copies of a moment are not estimated, so that what is refused would really not fit.
    assert 0.5 < estimate.total / measured["grown"] < 1.5, (estimate, measured)
