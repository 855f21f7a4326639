"""GPT-2 with random weights in a folder of the form that `transformers` writes; `transformers` is not needed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from modules.model.huggingface import HuggingFaceConfig, expected_shapes

CONFIG: dict[str, Any] = {
    "model_type": "gpt2",
    "vocab_size": 30,
    "n_positions": 16,
    "n_embd": 24,
    "n_layer": 2,
    "n_head": 3,
    "n_inner": 40,
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
    "resid_pdrop": 0.1,
}


def random_tensors(config: dict[str, Any], prefix: str = "transformer.") -> dict[str, np.ndarray]:
    """Returns float32 tensors by name; the values are so large that every tensor changes the logits."""
    numbers = np.random.default_rng(5)
    shapes = expected_shapes(HuggingFaceConfig.model_validate(config))
    return {prefix + name: (0.4 * numbers.standard_normal(shape)).astype("float32") for name, shape in shapes}


def write_folder(folder: Path, tensors: dict[str, np.ndarray] | None = None, **config: Any) -> Path:
    """Writes config.json (`CONFIG` with changes) and model.safetensors; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**CONFIG, **config}))
    save_file(random_tensors({**CONFIG, **config}) if tensors is None else tensors, folder / "model.safetensors")
    return folder
