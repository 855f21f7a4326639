"""Checks of GPT-2 folders that Hugging Face's `transformers` wrote, before keras-hub loads them.

keras-hub (`GPT2Backbone.from_preset`) loads such a folder correctly only if it holds the plain GPT-2. keras-hub does
not read the settings by which `transformers` varies the model, and it reshapes any tensors that it finds. So the
configuration and the tensors' shapes are first compared with the plain model. The shapes come from the headers of the
files; the weights are not read.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field, NonNegativeFloat, PositiveInt
from safetensors import SafetensorError, safe_open

from modules.common.errors import InputError
from modules.common.json_files import parse_file

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"

# To open one of these files runs the code that its author put into it.
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_SHOWN_CHARACTERS = 80
_FLOATS = ("F32", "F16", "BF16")
# The causal mask, which old versions stored, and the output head, which is the tied embedding.
_IGNORED_ENDS = (".attn.bias", ".attn.masked_bias", "lm_head.weight")


class HuggingFaceConfig(pydantic.BaseModel):
    """The settings in a GPT-2's config.json that change its logits; the defaults are those of `transformers`."""

    model_config = pydantic.ConfigDict(frozen=True, extra="ignore", strict=True)

    model_type: Literal["gpt2"]
    vocab_size: PositiveInt
    n_positions: PositiveInt
    n_embd: PositiveInt
    n_layer: PositiveInt
    n_head: PositiveInt
    # keras-hub's converter reads this value, and `model.dropout` replaces it.
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
    """Returns True if `transformers` wrote the folder: only its config.json has a `model_type`, not keras-hub's."""
    try:
        config = parse_file(Path(path, CONFIG_FILE))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and "model_type" in config and "registered_name" not in config


def check_folder(folder: str | Path) -> HuggingFaceConfig:
    """Checks that keras-hub loads all of the folder's weights, into the same model as they were trained in.

    Nothing is ever unpickled.

    Returns:
        The folder's config.json.

    Raises:
        InputError: The model is not GPT-2, or is a variant of it; the weights are not in safetensors; or tensors are
            missing, are unknown, or do not have the shapes that follow from the config.
    """
    folder = Path(folder)
    config = _read_config(folder / CONFIG_FILE)
    stored = {name.removeprefix("transformer."): shape for name, shape in _stored_shapes(folder).items()}
    expected = set()
    # The config may claim any number of layers: the first tensor that is missing ends the loop.
    for name, shape in expected_shapes(config):
        expected.add(name)
        if stored.get(name) != shape:
            found = list(stored[name]) if name in stored else "no such tensor"
            raise InputError(
                f"{folder}: the tensor {name} must have the shape {list(shape)} by {CONFIG_FILE}. Received: {found}. "
                "Save the model again with `save_pretrained`."
            )
    unknown = sorted(name for name in stored if name not in expected and not name.endswith(_IGNORED_ENDS))
    if unknown:
        raise InputError(
            f"{folder}: the weights must be only those of a plain GPT-2. Received also: {', '.join(unknown[:3])}"
            f"{', …' if len(unknown) > 3 else ''}. Merge adapters, or save the GPT-2 without its other heads."
        )
    return config


def expected_shapes(config: HuggingFaceConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yields names and shapes of a GPT-2's tensors.

    Matrices are `[inputs, outputs]`; query, key and value are one matrix.
    """
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
        config = HuggingFaceConfig.model_validate(parse_file(path))
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}). Give the folder of a Hugging Face GPT-2."
        ) from None
    except pydantic.ValidationError as error:
        problems = "; ".join(_describe(problem) for problem in error.errors())
        raise InputError(
            f"{path}: only the plain GPT-2 can be trained here, not its variants. {problems}. Choose another model."
        ) from None
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{path}: must be a JSON file. Received: {error}. Copy the folder again.") from None
    if config.n_embd % config.n_head:
        raise InputError(
            f"{path}: `n_embd` must be divisible by `n_head`. Received: {config.n_embd} and {config.n_head}. "
            "Save the model again with `save_pretrained`."
        )
    return config


def _describe(problem: Any) -> str:
    place = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "missing":
        return f"`{place}` is missing"
    received = json.dumps(problem["input"])[:_SHOWN_CHARACTERS]
    return f"{f'`{place}`: ' if place else ''}{problem['msg']}. Received: {received}"


def _stored_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Returns the tensors' shapes by the names in the files."""
    if (folder / INDEX_FILE).is_file():
        return _indexed_shapes(folder)
    if (folder / WEIGHTS_FILE).is_file():
        return dict(_tensors(folder / WEIGHTS_FILE))
    pickles = sorted(file.name for pattern in _PICKLES for file in folder.glob(pattern))
    if pickles:
        raise InputError(
            f"{folder}: weights must be in {WEIGHTS_FILE}. Received: {', '.join(pickles)}, which runs the code in it "
            "when it is opened. So it is never opened here. If you trust its author, convert it with `transformers`: "
            f"AutoModelForCausalLM.from_pretrained({str(folder)!r}).save_pretrained(FOLDER)."
        )
    raise InputError(
        f"{folder}: must hold {WEIGHTS_FILE}, or {INDEX_FILE} and the files that it names. Received: a folder without "
        "weights. Copy the folder again."
    )


def _indexed_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    path = folder / INDEX_FILE
    try:
        weight_map = parse_file(path)["weight_map"]
        files = {name: folder / name for name in weight_map.values()}
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: must hold a `weight_map` of tensors to files. Received: {error!r}. Copy the file again."
        ) from None
    for file in files.values():
        if file.parent != folder or not file.is_file():
            raise InputError(
                f"{path}: every file that it names must exist in the same folder. Received: {file}. "
                "Copy the missing file to that folder."
            )
    shapes = {name: dict(_tensors(file)) for name, file in files.items()}
    for tensor, name in weight_map.items():
        if tensor not in shapes[name]:
            raise InputError(f"{path}: {name} must hold {tensor}. Received: a file without it. Copy both files again.")
    return {tensor: shapes[name][tensor] for tensor, name in weight_map.items()}


def _tensors(file: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yields names and shapes from the file's header, which `safe_open` has compared with the file's length."""
    try:
        with safe_open(file, framework="np") as tensors:
            for name in tensors.keys():  # noqa: SIM118  (the object is not a mapping)
                tensor = tensors.get_slice(name)
                if tensor.get_dtype() not in _FLOATS and not name.endswith(_IGNORED_ENDS):
                    raise InputError(
                        f"{file}: tensors must be of type {', '.join(_FLOATS)}. Received: {tensor.get_dtype()} of "
                        f"{name}. Save the model unquantized."
                    )
                yield name, tuple(tensor.get_shape())
    except (SafetensorError, OSError) as error:
        raise InputError(f"{file}: is not a complete safetensors file ({error}). Copy the file again.") from None
