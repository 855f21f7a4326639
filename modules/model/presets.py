"""Checks of a model's preset before it is loaded: name, sizes and fingerprint. Does not import TensorFlow."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import pydantic
from pydantic import Field

from modules.common.errors import InputError
from modules.common.files import hash_settings
from modules.common.json_files import parse_file
from modules.model import huggingface

# The folder of keras-hub's own authors on Kaggle. Anyone can upload anything into other folders.
_HANDLE = "kaggle://keras/"
_HANDLE_FORM = re.compile(_HANDLE + r"\w[\w.-]*/\w[\w.-]*/\w[\w.-]*(/\d+)?", re.ASCII)

# The files of a keras-hub preset that name the Python classes to build, and the class that each must name.
_CLASS_FILES = {huggingface.CONFIG_FILE: "GPT2Backbone", "tokenizer.json": "GPT2Tokenizer"}
# Further classes that these files may name.
_SETTINGS_CLASSES = ("DTypePolicy", "DTypePolicyMap", "FloatDTypePolicy")
_PACKAGES = ("keras", "keras_hub", "keras_nlp")


_Size = Annotated[int, Field(ge=1, le=10_000_000)]


class BackboneSizes(pydantic.BaseModel):
    """The sizes in a config.json of keras-hub, of which each part is built before the weights are read."""

    model_config = pydantic.ConfigDict(frozen=True, extra="ignore", strict=True)

    vocabulary_size: _Size
    num_layers: Annotated[int, Field(ge=1, le=1000)]
    num_heads: Annotated[int, Field(ge=1, le=1000)]
    hidden_dim: Annotated[int, Field(ge=1, le=100_000)]
    intermediate_dim: _Size
    max_sequence_length: _Size


class PresetSizes(NamedTuple):
    """Sizes of a preset that the other settings must fit."""

    vocabulary_size: int
    positions: int


# All GPT-2 presets of keras-hub have the vocabulary and the positions of OpenAI's GPT-2.
GPT2_SIZES = PresetSizes(vocabulary_size=50257, positions=1024)


def check_name(preset: str, setting: str) -> None:
    """Makes sure that a preset is the name of a keras-hub preset, a handle `kaggle://keras/…`, or an existing folder.

    Other handles, such as `hf://…` and `kaggle://anyone/…`, are refused. Their files have not been checked to be a
    plain GPT-2 (see `huggingface.check_folder`), and they can change between runs without notice.

    Args:
        preset: Name, handle or folder.
        setting: The setting that names it, for messages.

    Raises:
        InputError: The preset is none of these.
    """
    if "://" in preset and not _HANDLE_FORM.fullmatch(preset):
        raise InputError(
            f"`{setting}` must be the name of a keras-hub preset, a folder, or {_HANDLE}MODEL/keras/VARIATION. "
            f"Received: {preset}. Download its files and name their folder, which is checked before it is opened."
        )
    if "/" in preset and "://" not in preset and not Path(preset).is_dir():
        raise InputError(f"`{setting}` names no folder. Received: {preset}. Correct the path.")


def preset_fingerprint(preset: str, setting: str) -> str:
    """Returns SHA-256 over a preset's name and, if it is a folder, over its files.

    Args:
        preset: Name, handle or folder.
        setting: The setting that names it, for messages.

    Raises:
        InputError: `check_name` refuses the preset.
    """
    check_name(preset, setting)
    return hash_settings({"preset": preset})


def check_classes(preset: str) -> None:
    """Makes sure that a folder of a keras-hub preset names only the classes of a GPT-2: Keras would build any class.

    Args:
        preset: A preset. Only folders that keras-hub wrote have such files.

    Raises:
        InputError: A file names another class, or is not a JSON object.
    """
    if huggingface.is_folder(preset):
        return
    for name, expected in _CLASS_FILES.items():
        path = Path(preset, name)
        if not path.is_file():
            continue
        content = _read_object(path)
        for described in _classes(content):
            allowed = (expected,) if described is content else _SETTINGS_CLASSES
            named = [described.get(key) for key in ("module", "class_name", "registered_name")]
            if not _is_one_of(allowed, *named):
                raise InputError(
                    f"{path}: must name only classes of keras-hub's GPT-2: {expected}. Received: {named}. Nothing of "
                    "it was executed. Use a preset whose author you trust."
                )


def _is_one_of(classes: tuple[str, ...], module: object, name: object, registered: object) -> bool:
    known = [f"{package}>{name}" for package in _PACKAGES]
    return (
        name in classes
        and (module is None or str(module).split(".")[0] in _PACKAGES)
        and (registered is None or registered in (name, *known))
    )


def _classes(content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields the objects that name a class or a module: the content itself, and those inside it."""
    waiting: list[Any] = [content]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if value.keys() & {"class_name", "module", "registered_name"}:
                yield value
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _read_object(path: Path) -> dict[str, Any]:
    try:
        content = parse_file(path)
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: must be a JSON file. Received: {error}. Copy the preset again.") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: must be a JSON object. Received: {str(content)[:80]}. Copy the preset again.")
    return content


def read_sizes(preset: str) -> PresetSizes | None:
    """Returns the sizes of a preset; None for a download handle such as `kaggle://…`, whose files are not here yet.

    Raises:
        InputError: The folder does not hold a GPT-2, or holds an unsupported variant of it.
    """
    folder = Path(preset)
    if not folder.is_dir():
        return None if "/" in preset else GPT2_SIZES
    if huggingface.is_folder(folder):
        config = huggingface.check_folder(folder)
        return PresetSizes(vocabulary_size=config.vocab_size, positions=config.n_positions)
    if (folder / huggingface.CONFIG_FILE).is_file():
        check_classes(preset)
    sizes = read_backbone_sizes(folder)
    return PresetSizes(vocabulary_size=sizes.vocabulary_size, positions=sizes.max_sequence_length)


def read_backbone_sizes(folder: Path) -> BackboneSizes:
    """Returns the sizes in the config.json of a preset that keras-hub wrote.

    Raises:
        InputError: The file is missing, or is not that of a GPT-2.
    """
    try:
        return BackboneSizes.model_validate(parse_file(folder / huggingface.CONFIG_FILE)["config"])
    except pydantic.ValidationError as error:
        problem = error.errors()[0]
        place, received = ".".join(map(str, problem["loc"])), repr(problem["input"])[:80]
        reason = f"`{place}`: {problem['msg']}, but it is {received}"
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = repr(error)
    raise InputError(
        f"the preset {folder} must hold a config.json of a keras-hub GPT-2 backbone, or of a Hugging Face GPT-2. "
        f"Received: {reason}. Copy the preset again."
    )


def check_positions(preset: str, context_length: int) -> None:
    """Makes sure that a preset's model has a position for each token of the context.

    Raises:
        InputError: The model has fewer positions, or `read_sizes` cannot read the preset.
    """
    sizes = read_sizes(preset)
    if sizes is not None and context_length > sizes.positions:
        raise InputError(
            f"`model.context_length` must be at most {sizes.positions}, the positions of {preset}. "
            f"Received: {context_length}."
        )
