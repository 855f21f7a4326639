"""LoRA and QLoRA on a keras-hub GPT-2: adapters are trained instead of weights, saved, and merged for export.

The methods are "LoRA: Low-Rank Adaptation of Large Language Models" (arXiv:2106.09685) and "QLoRA" (arXiv:2305.14314).
They use `enable_lora` and weight-only `quantize` of Keras' layers. Keras factorises a matrix only along its last axis.
So in a query matrix, `[hidden, heads, head_dim]`, every head has its own A, and all heads share one B. The change may
have a higher rank than in the paper, and A has `heads` times as many numbers.
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

# The number of inputs that share a scale in int4. It is Keras' default.
INT4_BLOCK = 128
_FACTORS = ("lora_kernel_a", "lora_kernel_b")


def apply(backbone: keras_hub.models.GPT2Backbone, settings: LoraSettings) -> None:
    """Freezes a model, quantizes its matrices if `settings` ask for it, and adds adapters. Only the adapters train.

    At first the adapters change nothing, because B is 0. They are float32 under every precision policy.

    Args:
        backbone: A model with trained weights; it is changed in place. `merge` makes a plain model of it.
        settings: The settings of the adapters.

    Raises:
        InputError: The settings ask for quantized matrices, but the model computes in float16, whose range is too
            small for Keras.
    """
    if settings.quantization is not None and backbone.compute_dtype == "float16":
        raise InputError(
            "`training.lora.quantization` needs `training.precision` float32 or mixed_bfloat16. "
            f"Received: {settings.quantization} in mixed_float16. Change one of the two."
        )
    for weight in backbone.weights:
        weight.trainable = False
    if settings.quantization is not None:
        _quantize(backbone, settings.quantization)
    for _, target, layer in _matrices(backbone):
        if target in settings.targets:
            layer.enable_lora(settings.rank, lora_alpha=settings.alpha)


def trainable_parameters(backbone: keras_hub.models.GPT2Backbone) -> int:
    """Returns the number of values that train; `count_params` also counts frozen values."""
    return sum(int(np.prod(weight.shape)) for weight in backbone.trainable_weights)


def merge(backbone: keras_hub.models.GPT2Backbone) -> keras_hub.models.GPT2Backbone:
    """Returns a plain float32 model with the adapters' changes in its matrices; its logits are those of `backbone`.

    Quantized matrices are dequantized and then merged. They are not quantized again, because that would lose small
    changes.
    """
    plain = keras_hub.models.GPT2Backbone.from_config({**backbone.get_config(), "dtype": "float32"})
    for (_, _, layer), (_, _, merged) in zip(_matrices(backbone), _matrices(plain), strict=True):
        merged.kernel.assign(_merged_kernel(layer).reshape(merged.kernel.shape))
        merged.bias.assign(layer.bias)
    for weight, copy in zip(_other_weights(backbone), _other_weights(plain), strict=True):
        copy.assign(weight)
    return plain


def save_adapters(backbone: keras_hub.models.GPT2Backbone, settings: LoraSettings, path: str | Path) -> None:
    """Writes only the adapters, with the settings and the base's hash in the header.

    Args:
        backbone: A model that `apply` changed.
        settings: The settings that `apply` used.
        path: A safetensors file. Its tensors are float32, `transformer_layer_0.query.lora_kernel_a` and so on.
    """
    metadata = {"lora": settings.model_dump_json(), "base_sha256": _base_hash(backbone)}
    save_file({name: weight.numpy() for name, weight in _adapters(backbone).items()}, path, metadata)


def load_adapters(backbone: keras_hub.models.GPT2Backbone, path: str | Path) -> LoraSettings:
    """Applies adapters to the base that they were trained on.

    Args:
        backbone: The base before `apply`; it is changed in place.
        path: A file of `save_adapters`.

    Returns:
        The settings that the file holds.

    Raises:
        InputError: The file holds no adapters, or adapters of another base. The backbone can then not be used any more.
    """
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is not a mapping)
        settings = LoraSettings.model_validate_json(metadata.get("lora", ""))
    except (SafetensorError, OSError, pydantic.ValidationError) as error:
        raise InputError(
            f"{path}: must be a file of adapters. Received: {error}. Give a file that a run with `training.lora` wrote."
        ) from None
    apply(backbone, settings)
    if metadata.get("base_sha256") != _base_hash(backbone):
        raise InputError(
            f"{path}: adapters fit only the model that they were trained on. Received: a model with other weights. "
            "Set `model.preset` to that of the run that wrote the file."
        )
    for name, weight in _adapters(backbone).items():
        weight.assign(tensors[name])
    return settings


def _matrices(backbone: keras_hub.models.GPT2Backbone) -> Iterator[tuple[str, Target, keras.layers.Layer]]:
    """Yields the linear layers: the name of the transformer layer, the target, and the Dense or EinsumDense."""
    for layer in backbone.transformer_layers:
        attention = layer._self_attention_layer
        yield layer.name, "query", attention.query_dense
        yield layer.name, "key", attention.key_dense
        yield layer.name, "value", attention.value_dense
        yield layer.name, "attention_output", attention.output_dense
        yield layer.name, "feedforward_intermediate", layer._feedforward_intermediate_dense
        yield layer.name, "feedforward_output", layer._feedforward_output_dense


def _other_weights(backbone: keras_hub.models.GPT2Backbone) -> list[keras.Variable]:
    """Returns the weights of embeddings and layer norms, in the model's order."""
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
    """Rounds the matrices, but not the activations. As in the paper, it does not round the (tied) embeddings."""
    configs = {
        "int8": keras.quantizers.Int8QuantizationConfig(activation_quantizer=None),
        "int4": keras.quantizers.Int4QuantizationConfig(activation_quantizer=None, block_size=INT4_BLOCK),
    }
    linear = (keras.layers.Dense, keras.layers.EinsumDense)
    # Keras collects garbage after every matrix, which takes a second each time if TFX is loaded. It takes no time if
    # the present objects are frozen first.
    gc.freeze()
    try:
        backbone.quantize(quantization, config=configs[quantization], filters=lambda layer: isinstance(layer, linear))
    finally:
        gc.unfreeze()
    gc.collect()


def _merged_kernel(layer: keras.layers.Layer) -> np.ndarray:
    """Returns float32, in the shape of the factors' product or flattened to `[inputs, outputs]`.

    `layer.kernel` cannot be used: it has the policy's compute type and, in int8, adds the change to the integers.
    """
    kernel = _base_kernel(layer)
    if not layer.lora_enabled:
        return kernel
    change = layer.lora_kernel_a.numpy() @ layer.lora_kernel_b.numpy()
    return kernel.reshape(change.shape) + np.float32(layer.lora_alpha / layer.lora_rank) * change


def _base_kernel(layer: keras.layers.Layer) -> np.ndarray:
    """Returns the frozen matrix in float32, dequantized in the same way as Keras' layers do in `call`."""
    stored = layer._kernel
    if layer.quantization_mode is None:
        return stored.numpy()
    scale = layer.kernel_scale.numpy()
    if layer.quantization_mode == "int8":
        # There is a scale for each output. The outputs are the last axes of every matrix of GPT-2.
        return stored.numpy().reshape(-1, scale.size) / scale.reshape(-1)
    integers = keras.ops.convert_to_numpy(keras.quantizers.unpack_int4(stored, scale.shape[-1], axis=-1))
    block = layer.g_idx.numpy().astype(int)
    return (integers - layer.kernel_zero.numpy()[block]) * scale[block]


def _base_hash(backbone: keras_hub.models.GPT2Backbone) -> str:
    """Returns the SHA-256 of all frozen weights, quantized or not."""
    digest = hashlib.sha256()
    for weight in backbone.non_trainable_weights:
        digest.update(weight.numpy().tobytes())
    return digest.hexdigest()
