"""Hugging Face folders have the logits of a NumPy reference; folders that keras-hub would load wrongly are refused."""

import json
import math
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from modules.common.errors import InputError
from modules.model import gpt2, huggingface
from tests.toys.huggingface_folder import CONFIG, random_tensors, write_folder

TOKEN_IDS = [3, 29, 0, 7, 7, 12, 1, 25]


def reference(tensors: dict[str, np.ndarray]) -> np.ndarray:
    """Computes GPT-2 in float64 from the file's own tensors, `[time, vocabulary]`, without the model's code."""
    weights = {name.removeprefix("transformer."): tensor.astype("float64") for name, tensor in tensors.items()}

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        normal = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        return normal * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def dense(x: np.ndarray, name: str) -> np.ndarray:
        return x @ weights[f"{name}.weight"] + weights[f"{name}.bias"]

    time, heads = len(TOKEN_IDS), CONFIG["n_head"]
    x = weights["wte.weight"][TOKEN_IDS] + weights["wpe.weight"][:time]
    for layer in range(CONFIG["n_layer"]):
        parts = np.split(dense(norm(x, f"h.{layer}.ln_1"), f"h.{layer}.attn.c_attn"), 3, axis=-1)
        query, key, value = (part.reshape(time, heads, -1).swapaxes(0, 1) for part in parts)
        scores = query @ key.swapaxes(1, 2) / math.sqrt(query.shape[-1])
        scores[:, np.triu(np.ones((time, time), bool), 1)] = -np.inf
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        x = x + dense((shares @ value).swapaxes(0, 1).reshape(time, -1), f"h.{layer}.attn.c_proj")
        y = dense(norm(x, f"h.{layer}.ln_2"), f"h.{layer}.mlp.c_fc")
        y = 0.5 * y * (1 + np.tanh(math.sqrt(2 / math.pi) * (y + 0.044715 * y**3)))
        x = x + dense(y, f"h.{layer}.mlp.c_proj")
    return norm(x, "ln_f") @ weights["wte.weight"].T


def logits(folder: Path) -> np.ndarray:
    """Returns float32 `[time, vocabulary]` of the folder's model, loaded as in the project."""
    settings = gpt2.ModelSettings(preset=str(folder), context_length=8)
    backbone = gpt2.build_backbone(settings, vocabulary_size=30, dtype="float32")
    row = np.array([TOKEN_IDS])
    return gpt2.language_model(backbone)({"token_ids": row, "padding_mask": np.ones_like(row)}).numpy()[0]


def test_logits_equal_the_reference(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    expected = reference(random_tensors(CONFIG))
    assert np.abs(expected).max() > 2
    np.testing.assert_allclose(logits(folder), expected, rtol=0, atol=5e-6)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_16_bit_weights_are_loaded_with_their_exact_values(tmp_path: Path, dtype: type) -> None:
    halves = {name: tensor.astype(dtype) for name, tensor in random_tensors(CONFIG).items()}
    np.testing.assert_allclose(logits(write_folder(tmp_path, halves)), reference(halves), rtol=0, atol=5e-6)


def test_several_files_names_without_prefix_and_extra_tensors_of_old_versions_are_loaded(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    (folder / "model.safetensors").unlink()
    tensors = random_tensors(CONFIG, prefix="")
    tensors["h.0.attn.bias"] = np.ones((1, 1, 16, 16), bool)
    tensors["lm_head.weight"] = tensors["wte.weight"].copy()
    names = sorted(tensors)
    weight_map = {name: f"model-{number % 2}.safetensors" for number, name in enumerate(names)}
    for file in set(weight_map.values()):
        save_file({name: tensors[name] for name in names if weight_map[name] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    np.testing.assert_allclose(logits(folder), reference(random_tensors(CONFIG)), rtol=0, atol=5e-6)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "llama"}, r"`model_type`: Input should be 'gpt2'. Received: \"llama\""),
        ({"activation_function": "relu"}, r"`activation_function`: .*'gelu_new'.*Received: \"relu\""),
        ({"layer_norm_epsilon": 1e-6}, r"`layer_norm_epsilon`: .*Received: 1e-06"),
        ({"scale_attn_by_inverse_layer_idx": True}, r"`scale_attn_by_inverse_layer_idx`: .*Received: true"),
        ({"tie_word_embeddings": False}, r"`tie_word_embeddings`: .*Received: false"),
        ({"n_embd": "24"}, r"`n_embd`: Input should be a valid integer. Received: \"24\""),
        ({"n_layer": 10**9}, r"the tensor h\.2\.attn\.c_attn\.weight must have the shape .* Received: no such tensor"),
        ({"n_head": 5}, r"`n_embd` must be divisible by `n_head`. Received: 24 and 5"),
    ],
)
def test_a_variant_of_gpt2_is_refused(tmp_path: Path, config: dict, message: str) -> None:
    folder = write_folder(tmp_path, random_tensors(CONFIG), **config)
    with pytest.raises(InputError, match=message):
        huggingface.check_folder(folder)


def test_tensors_that_do_not_fit_the_config_are_refused(tmp_path: Path) -> None:
    tensors = random_tensors(CONFIG)
    transposed = {**tensors, "transformer.h.1.mlp.c_fc.weight": tensors["transformer.h.1.mlp.c_fc.weight"].T.copy()}
    with pytest.raises(InputError, match=r"h.1.mlp.c_fc.weight must have the shape \[24, 40\].*Received: \[40, 24\]"):
        huggingface.check_folder(write_folder(tmp_path, transposed))
    missing = {name: tensor for name, tensor in tensors.items() if not name.endswith("ln_f.bias")}
    with pytest.raises(InputError, match=r"ln_f.bias must have the shape \[24\].*Received: no such tensor"):
        huggingface.check_folder(write_folder(tmp_path, missing))
    more = {**tensors, "transformer.h.0.attn.c_attn.lora_A.weight": np.zeros((2, 24), "float32")}
    with pytest.raises(InputError, match=r"Received also: h.0.attn.c_attn.lora_A.weight. Merge adapters"):
        huggingface.check_folder(write_folder(tmp_path, more))
    integers = {**tensors, "transformer.wte.weight": np.zeros((30, 24), "int8")}
    with pytest.raises(InputError, match=r"Received: I8 of transformer.wte.weight. Save the model unquantized"):
        huggingface.check_folder(write_folder(tmp_path, integers))


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"Received: pytorch_model.bin, which runs the code in it when it is opened"):
        gpt2.build_backbone(gpt2.ModelSettings(preset=str(folder)), vocabulary_size=30, dtype="float32")


def test_an_incomplete_file_is_refused_with_its_name(tmp_path: Path) -> None:
    file = write_folder(tmp_path) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(
        InputError, match=r"model.safetensors: is not a complete safetensors file .*Copy the file again"
    ):
        huggingface.check_folder(tmp_path)


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        ({"wte.weight": "../outside.safetensors"}, r"must exist in the same folder. Received: .*outside.safetensors"),
        ({"wte.weight": "model.safetensors"}, r"model.safetensors must hold wte.weight. Received: a file without it"),
        ({"transformer.wte.weight": "model.safetensors"}, r"wpe.weight must have the shape .* no such tensor"),
        (["model.safetensors"], r"must hold a `weight_map` of tensors to files"),
    ],
)
def test_an_index_that_does_not_fit_the_files_of_its_folder_is_refused(
    tmp_path: Path, weight_map: object, message: str
) -> None:
    folder = write_folder(tmp_path / "model")
    save_file(random_tensors(CONFIG), tmp_path / "outside.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(InputError, match=message):
        huggingface.check_folder(folder)
