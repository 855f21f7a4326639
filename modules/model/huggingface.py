"""Folders of a GPT-2 as Hugging Face's `transformers` writes them: is one what keras-hub will take it for?

keras-hub loads such a folder (`GPT2Backbone.from_preset`), and loads it right, if it is the plain GPT-2 that it
assumes. It reads none of the settings by which `transformers` varies the model, and reshapes whatever tensors it finds.
So everything is held against the plain model first, from the headers of the files, without reading the weights.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field, NonNegativeFloat, PositiveInt
from safetensors import SafetensorError, safe_open

from modules.common.errors import InputError

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"

# Opening one of these runs the code that its author put in.
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_FLOATS = ("F32", "F16", "BF16")
# The causal mask, stored by old versions, and the head, which is the tied embedding.
_IGNORED_ENDS = (".attn.bias", ".attn.masked_bias", "lm_head.weight")


class HuggingFaceConfig(pydantic.BaseModel):
    """What of a GPT-2's config.json makes a difference to its logits; the defaults are `transformers`'s."""

    model_config = pydantic.ConfigDict(frozen=True, extra="ignore")

    model_type: Literal["gpt2"]
    vocab_size: PositiveInt
    n_positions: PositiveInt
    n_embd: PositiveInt
    n_layer: PositiveInt
    n_head: PositiveInt
    # keras-hub's converter reads it, and its value is replaced by `model.dropout`.
    resid_pdrop: NonNegativeFloat
    n_inner: PositiveInt | None = None
    activation_function: Literal["gelu_new", "gelu_pytorch_tanh"] = Field(
        "gelu_new", description="Two names of GELU's approximation by tanh."
    )
    layer_norm_epsilon: Annotated[float, Field(ge=1e-5, le=1e-5)] = 1e-5
    scale_attn_weights: Literal[True] = True
    scale_attn_by_inverse_layer_idx: Literal[False] = False
    add_cross_attention: Literal[False] = False
    tie_word_embeddings: Literal[True] = True

    @property
    def intermediate_dim(self) -> int:
        """Width of the feed-forward layer."""
        return self.n_inner or 4 * self.n_embd


def is_folder(path: str | Path) -> bool:
    """Whether `transformers` wrote the folder: its config.json names a `model_type`, where keras-hub's does not."""
    try:
        config = json.loads(Path(path, CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and "model_type" in config and "registered_name" not in config


def check_folder(folder: str | Path) -> HuggingFaceConfig:
    """Makes sure that keras-hub loads the folder's weights, all of them, into the model that they were trained in.

    Returns:
        The folder's config.json.

    Raises:
        InputError: It is another model than GPT-2 or a variant of it; the weights are not in safetensors; or tensors
            are missing, unknown, or of other shapes than the config says. Nothing is ever unpickled.
    """
    folder = Path(folder)
    config = _read_config(folder / CONFIG_FILE)
    stored = {name.removeprefix("transformer."): shape for name, shape in _stored_shapes(folder).items()}
    expected = dict(expected_shapes(config))
    for name, shape in expected.items():
        if stored.get(name) != shape:
            found = list(stored[name]) if name in stored else "no such tensor"
            raise InputError(
                f"{folder}: the tensor {name} must have the shape {list(shape)} by {CONFIG_FILE}. Received: {found}. "
                "Save the model again, by `save_pretrained`."
            )
    unknown = sorted(name for name in stored if name not in expected and not name.endswith(_IGNORED_ENDS))
    if unknown:
        raise InputError(
            f"{folder}: the weights must be those of a plain GPT-2. Received also: {', '.join(unknown[:3])}"
            f"{', …' if len(unknown) > 3 else ''}. Merge adapters, or save the GPT-2 without its other heads."
        )
    return config


def expected_shapes(config: HuggingFaceConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of a GPT-2's tensors; matrices are `[inputs, outputs]`, and query, key, value are one."""
    hidden = config.n_embd
    yield "wte.weight", (config.vocab_size, hidden)
    yield "wpe.weight", (config.n_positions, hidden)
    for layer in range(config.n_layer):
        matrices = {
            "attn.c_attn": (hidden, 3 * hidden),
            "attn.c_proj": (hidden, hidden),
            "mlp.c_fc": (hidden, config.intermediate_dim),
            "mlp.c_proj": (config.intermediate_dim, hidden),
        }
        for name, shape in matrices.items():
            yield f"h.{layer}.{name}.weight", shape
            yield f"h.{layer}.{name}.bias", shape[1:]
        for name in ("ln_1", "ln_2"):
            yield f"h.{layer}.{name}.weight", (hidden,)
            yield f"h.{layer}.{name}.bias", (hidden,)
    yield "ln_f.weight", (hidden,)
    yield "ln_f.bias", (hidden,)


def _read_config(path: Path) -> HuggingFaceConfig:
    try:
        config = HuggingFaceConfig.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}). Name a folder of a Hugging Face GPT-2.") from None
    except pydantic.ValidationError as error:
        problems = "; ".join(_describe(problem) for problem in error.errors())
        raise InputError(
            f"{path}: only the plain GPT-2 can be trained here, not its variants. {problems}. Take another model."
        ) from None
    if config.n_embd % config.n_head:
        raise InputError(
            f"{path}: `n_embd` must be divisible by `n_head`. Received: {config.n_embd} and {config.n_head}. "
            "Save the model again, by `save_pretrained`."
        )
    return config


def _describe(problem: Any) -> str:
    place = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "missing":
        return f"`{place}` is missing"
    received = "" if problem["type"] == "json_invalid" else f". Received: {json.dumps(problem['input'])}"
    return f"{f'`{place}`: ' if place else ''}{problem['msg']}{received}"


def _stored_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Shapes by the tensors' own names."""
    if (folder / INDEX_FILE).is_file():
        return _indexed_shapes(folder)
    if (folder / WEIGHTS_FILE).is_file():
        return dict(_tensors(folder / WEIGHTS_FILE))
    pickles = sorted(file.name for pattern in _PICKLES for file in folder.glob(pattern))
    if pickles:
        raise InputError(
            f"{folder}: weights must be in {WEIGHTS_FILE}. Received: {', '.join(pickles)}, which runs the code in it "
            "when it is opened, and so is never opened here. If you trust its author, convert it by `transformers`: "
            f"AutoModelForCausalLM.from_pretrained({str(folder)!r}).save_pretrained(FOLDER)."
        )
    raise InputError(f"{folder}: must hold {WEIGHTS_FILE}, or {INDEX_FILE} and the files that it names.")


def _indexed_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    path = folder / INDEX_FILE
    try:
        weight_map = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        files = {name: folder / name for name in weight_map.values()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: must hold a `weight_map` of tensors to files. Received: {error!r}.") from None
    for file in files.values():
        if file.parent != folder or not file.is_file():
            raise InputError(f"{path}: names a file that must be beside it. Received: {file}, which is not.")
    shapes = {name: dict(_tensors(file)) for name, file in files.items()}
    for tensor, name in weight_map.items():
        if tensor not in shapes[name]:
            raise InputError(f"{path}: {name} must hold {tensor}. Received: a file without it. Fetch both again.")
    return {tensor: shapes[name][tensor] for tensor, name in weight_map.items()}


def _tensors(file: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes from the file's header; `safe_open` has held it against the file's length."""
    try:
        with safe_open(file, framework="np") as tensors:
            for name in tensors.keys():  # noqa: SIM118  (an object of its own, and no mapping)
                tensor = tensors.get_slice(name)
                if tensor.get_dtype() not in _FLOATS and not name.endswith(_IGNORED_ENDS):
                    raise InputError(
                        f"{file}: tensors must be one of {', '.join(_FLOATS)}. Received: {tensor.get_dtype()} of "
                        f"{name}. Save the model unquantized."
                    )
                yield name, tuple(tensor.get_shape())
    except (SafetensorError, OSError) as error:
        raise InputError(f"{file}: is not a whole safetensors file ({error}). Fetch it again.") from None
