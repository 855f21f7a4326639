"""Vocabularies that are there already: GPT-2's two files, or a keras-hub preset's."""

import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path

from modules.errors import InputError
from modules.vocabulary import Vocabulary


def load_vocabulary(tokenizer: Mapping[str, str]) -> Vocabulary:
    """Loads what the configuration's `tokenizer` names.

    Args:
        tokenizer: `{"vocabulary": path, "merges": path}`, or `{"preset": name or folder}`.

    Raises:
        InputError: If the files or the preset cannot be read.
    """
    if "preset" not in tokenizer:
        return Vocabulary.from_gpt2_files(tokenizer["vocabulary"], tokenizer["merges"])
    import keras_hub

    preset = tokenizer["preset"]
    try:
        gpt2_tokenizer = keras_hub.tokenizers.GPT2Tokenizer.from_preset(preset)
    except (ValueError, OSError) as error:
        raise InputError(
            f"cannot load the tokenizer of the preset {preset!r}: {error}. Name a keras-hub GPT-2 preset, e.g. "
            "gpt2_base_en (downloaded once; needs the network), or a folder with its files; or give GPT-2's own "
            "`vocabulary` and `merges`."
        ) from error
    with tempfile.TemporaryDirectory() as folder:
        gpt2_tokenizer.save_assets(folder)
        return Vocabulary.from_gpt2_files(Path(folder, "vocabulary.json"), Path(folder, "merges.txt"))


def fingerprint(tokenizer: Mapping[str, str]) -> str:
    """SHA-256 over the files that the tokenizer comes from; a downloaded preset's name says it all.

    Raises:
        InputError: If a file is missing.
    """
    digest = hashlib.sha256()
    for key, value in sorted(tokenizer.items()):
        path = Path(str(value))
        digest.update(f"{key}={value};".encode())
        if path.is_dir():
            for file in sorted(path.rglob("*")):
                digest.update(file.read_bytes() if file.is_file() else b"")
        elif path.is_file():
            digest.update(path.read_bytes())
        elif key in ("vocabulary", "merges"):
            raise InputError(f"`tokenizer.{key}` names no file. Received: {value}.")
    return digest.hexdigest()
