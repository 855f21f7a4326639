"""LoRA and QLoRA on a keras-hub GPT-2: adapters instead of weights, saved alone and merged for export.

"LoRA: Low-Rank Adaptation of Large Language Models" (arXiv:2106.09685) and "QLoRA" (arXiv:2305.14314), by what Keras'
layers have of both: `enable_lora` and weight-only `quantize`. Keras factorises a matrix along its last axis alone. So
of a query, `[hidden, heads, head_dim]`, every head has an A of its own, and all have one B: the change may be of a
higher rank than the paper's, and A has heads × as many numbers.
"""

import gc
import hashlib
from collections.abc import Iterator
from pathlib import Path

import keras
import keras_hub
import numpy as np
import pydantic
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from modules.common.errors import InputError
from modules.model.settings import LoraSettings, Quantization, Target

# Inputs that share a scale in int4; Keras' own default.
INT4_BLOCK = 128
_FACTORS = ("lora_kernel_a", "lora_kernel_b")


def apply(backbone: keras_hub.models.GPT2Backbone, settings: LoraSettings) -> None:
    """Freezes a model, quantizes its matrices if asked, and adds adapters, which alone train.

    The adapters start as no change at all: B is 0. They are float32 in every precision policy.

    Args:
        backbone: With trained weights; it is changed in place. `merge` makes a plain one of it.
        settings: The adapters.

    Raises:
        InputError: Matrices are to be quantized in a model that computes in float16, whose range Keras finds too small.
    """
    if settings.quantization is not None and backbone.compute_dtype == "float16":
        raise InputError(
            "`training.lora.quantization` needs `training.precision` float32 or mixed_bfloat16. "
            f"Received: {settings.quantization} in mixed_float16."
        )
    for weight in backbone.weights:
        weight.trainable = False
    if settings.quantization is not None:
        _quantize(backbone, settings.quantization)
    for _, target, layer in _matrices(backbone):
        if target in settings.targets:
            layer.enable_lora(settings.rank, lora_alpha=settings.alpha)


def trainable_parameters(backbone: keras_hub.models.GPT2Backbone) -> int:
    """How many numbers train; `count_params` counts those that do not, too."""
    return sum(int(np.prod(weight.shape)) for weight in backbone.trainable_weights)


def merge(backbone: keras_hub.models.GPT2Backbone) -> keras_hub.models.GPT2Backbone:
    """Returns a plain float32 model with the adapters' changes in its matrices, and the logits of the one given.

    Quantized matrices are merged as the numbers that they stand for, and not quantized again, by which small changes
    would be lost.
    """
    plain = keras_hub.models.GPT2Backbone.from_config({**backbone.get_config(), "dtype": "float32"})
    for (_, _, layer), (_, _, merged) in zip(_matrices(backbone), _matrices(plain), strict=True):
        merged.kernel.assign(_merged_kernel(layer).reshape(merged.kernel.shape))
        merged.bias.assign(layer.bias)
    for weight, copy in zip(_other_weights(backbone), _other_weights(plain), strict=True):
        copy.assign(weight)
    return plain


def save_adapters(backbone: keras_hub.models.GPT2Backbone, settings: LoraSettings, path: str | Path) -> None:
    """Writes the adapters alone, with the settings and the base's hash in the header.

    Args:
        backbone: What `apply` made of the base.
        settings: With which it did.
        path: A safetensors file. Its tensors are float32, `transformer_layer_0.query.lora_kernel_a` and so on.
    """
    metadata = {"lora": settings.model_dump_json(), "base_sha256": _base_hash(backbone)}
    save_file({name: weight.numpy() for name, weight in _adapters(backbone).items()}, path, metadata)


def load_adapters(backbone: keras_hub.models.GPT2Backbone, path: str | Path) -> LoraSettings:
    """Applies adapters to the base that they were trained on.

    Args:
        backbone: The base, as it was before `apply`; it is changed in place.
        path: What `save_adapters` wrote.

    Returns:
        The settings that the file holds.

    Raises:
        InputError: The file holds no adapters, or those of another base; the backbone is then of no further use.
    """
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no mapping)
        settings = LoraSettings.model_validate_json(metadata.get("lora", ""))
    except (SafetensorError, OSError, pydantic.ValidationError) as error:
        raise InputError(
            f"{path}: must be a file of adapters, as a run with `training.lora` writes it ({error})."
        ) from None
    apply(backbone, settings)
    if metadata.get("base_sha256") != _base_hash(backbone):
        raise InputError(
            f"{path}: adapters fit only the model that they were trained on. Received: a model with other weights. "
            "Name as `model.preset` what the run that wrote the file names."
        )
    for name, weight in _adapters(backbone).items():
        weight.assign(tensors[name])
    return settings


def _matrices(backbone: keras_hub.models.GPT2Backbone) -> Iterator[tuple[str, Target, keras.layers.Layer]]:
    """The linear layers: of which transformer layer, which one, and the Dense or EinsumDense itself."""
    for layer in backbone.transformer_layers:
        attention = layer._self_attention_layer
        yield layer.name, "query", attention.query_dense
        yield layer.name, "key", attention.key_dense
        yield layer.name, "value", attention.value_dense
        yield layer.name, "attention_output", attention.output_dense
        yield layer.name, "feedforward_intermediate", layer._feedforward_intermediate_dense
        yield layer.name, "feedforward_output", layer._feedforward_output_dense


def _other_weights(backbone: keras_hub.models.GPT2Backbone) -> list[keras.Variable]:
    """Embeddings and layer norms, in the model's order."""
    in_matrices = {id(weight) for _, _, layer in _matrices(backbone) for weight in layer.weights}
    return [weight for weight in backbone.weights if id(weight) not in in_matrices]


def _adapters(backbone: keras_hub.models.GPT2Backbone) -> dict[str, keras.Variable]:
    return {
        f"{place}.{target}.{factor}": getattr(layer, factor)
        for place, target, layer in _matrices(backbone)
        if layer.lora_enabled
        for factor in _FACTORS
    }


def _quantize(backbone: keras_hub.models.GPT2Backbone, quantization: Quantization) -> None:
    """Rounds the matrices, and neither the activations nor, as in the paper, the embeddings, which are the head too."""
    configs = {
        "int8": keras.quantizers.Int8QuantizationConfig(activation_quantizer=None),
        "int4": keras.quantizers.Int4QuantizationConfig(activation_quantizer=None, block_size=INT4_BLOCK),
    }
    linear = (keras.layers.Dense, keras.layers.EinsumDense)
    # Keras collects garbage after every matrix, which takes a second where TFX is loaded: with what is there now kept
    # out of it, it takes none.
    gc.freeze()
    try:
        backbone.quantize(quantization, config=configs[quantization], filters=lambda layer: isinstance(layer, linear))
    finally:
        gc.unfreeze()
    gc.collect()


def _merged_kernel(layer: keras.layers.Layer) -> np.ndarray:
    """float32, in the shape of the factors' product or flattened to `[inputs, outputs]`.

    `layer.kernel` will not do: it is of the policy's compute type and, in int8, adds the change to the integers.
    """
    kernel = _base_kernel(layer)
    if not layer.lora_enabled:
        return kernel
    change = layer.lora_kernel_a.numpy() @ layer.lora_kernel_b.numpy()
    return kernel.reshape(change.shape) + np.float32(layer.lora_alpha / layer.lora_rank) * change


def _base_kernel(layer: keras.layers.Layer) -> np.ndarray:
    """float32: what the frozen matrix stands for, dequantized as Keras' layers do it in `call`."""
    stored = layer._kernel
    if layer.quantization_mode is None:
        return stored.numpy()
    scale = layer.kernel_scale.numpy()
    if layer.quantization_mode == "int8":
        # A scale for each output; those are the last axes of every matrix of GPT-2.
        return stored.numpy().reshape(-1, scale.size) / scale.reshape(-1)
    integers = keras.ops.convert_to_numpy(keras.quantizers.unpack_int4(stored, scale.shape[-1], axis=-1))
    block = layer.g_idx.numpy().astype(int)
    return (integers - layer.kernel_zero.numpy()[block]) * scale[block]


def _base_hash(backbone: keras_hub.models.GPT2Backbone) -> str:
    """SHA-256 over all that is frozen, quantized or not."""
    digest = hashlib.sha256()
    for weight in backbone.non_trainable_weights:
        digest.update(weight.numpy().tobytes())
    return digest.hexdigest()
