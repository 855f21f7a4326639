"""Continuation of a prompt with one of the files of a release."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from modules.common.errors import InputError
from modules.data.prompt_templates import PromptTemplate
from modules.export.tflite_files import TFLITE_FILES
from modules.model.sampling import SamplingSettings, prompt_room
from modules.release.manifest import Manifest, prompt_template
from modules.release.verification import check_files
from modules.serving.prompt_fitting import FittedPrompt, fit_prompt, template_tokens
from modules.serving.text_generators import LiteRTGenerator, SavedModelGenerator, TextGenerator

_FILES = {file.format: f"tflite/{file.name}" for file in TFLITE_FILES}
# All that TensorFlow reads.
_SAVED_MODEL = ("saved_model.pb", "saved_model.pbtxt", "saved_model.cpb", "fingerprint.pb", "variables", "assets")
_TOKENIZER = "tokenizer/tokenizer.json"
_PRECISIONS = {file.format: file.precision for file in TFLITE_FILES}


class Continuation(NamedTuple):
    """A continuation.

    Attributes:
        text: The text that the model wrote.
        prompt: What the model got of the prompt.
        context_length: Largest number of tokens of prompt and continuation together.
    """

    text: str
    prompt: FittedPrompt
    context_length: int


def continue_prompt(
    release: Path,
    format: str,
    prompt: str,
    settings: SamplingSettings,
    *,
    raw: bool = False,
) -> Continuation:
    """Continues a prompt with one file of a release.

    For a model of instructions, the prompt is first put into the template that the model was trained with.

    The model does not see a single space at the end of the prompt. In GPT-2's vocabularies a space belongs to the word
    that follows it, so a model has hardly ever seen a text that ends with a space. If the continuation then begins with
    this space, the space is removed from the result.

    Args:
        release: Folder of the release.
        format: `saved_model`, `tflite-int8` or `tflite-fp16`.
        prompt: Text to continue.
        settings: How the new tokens are chosen.
        raw: Whether to use the prompt without a template, even if the model was trained with a template.

    Returns:
        The continuation of the given prompt; with a template, the reply. And what the model got of the prompt.

    Raises:
        InputError: The folder is not a release, has no such file, or has a template that this version does not have, or
            that leaves no room for a word.
    """
    template = None if raw else prompt_template(release)
    if template:
        prompt = template.prompt(prompt)
    held_back = " " if prompt.endswith(" ") and not prompt.endswith("  ") and prompt.strip() else ""
    with quiet_libraries():
        generator = open_generator(release, format)
        if template:
            _check_template(template, generator, settings)
        fitted = fit_prompt(
            prompt.removesuffix(held_back),
            template=template,
            room=prompt_room(generator.context_length, settings.max_new_tokens),
            count_tokens=generator.count_tokens,
        )
        text = generator.generate(fitted.text, settings)
        context_length = generator.context_length
        del generator  # LiteRT also logs when it is deleted
    return Continuation(text.removeprefix(held_back), fitted, context_length)


def _check_template(template: PromptTemplate, generator: TextGenerator, settings: SamplingSettings) -> None:
    """Refuses a template that leaves no room for a word; a prompt without its template is not what was learned."""
    needed, context_length = template_tokens(template, generator.count_tokens), generator.context_length
    room = prompt_room(context_length, settings.max_new_tokens)
    if needed > room:
        cure = f"Use --max-new-tokens {context_length - needed} or fewer" if needed < context_length else "Use --raw"
        raise InputError(
            f"the template of the model's prompts needs {needed} tokens with a word. Received: a context of "
            f"{context_length} tokens, of which {context_length - room} are kept for new tokens. {cure}, or a model "
            "with a larger context."
        )


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Discards the output of libraries on standard error, because LiteRT has no setting for it.

    Exceptions are raised as usual.
    """
    original_stderr = os.dup(2)
    discard_stderr()
    try:
        yield
    finally:
        os.dup2(original_stderr, 2)
        os.close(original_stderr)


def discard_stderr() -> None:
    """Discards all later output to file descriptor 2. LiteRT logs even while the process ends."""
    null_device = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null_device, 2)
    os.close(null_device)


def open_generator(release: Path, format: str) -> TextGenerator:
    """Opens a file of a release for generation.

    Args:
        release: Folder of the release.
        format: `saved_model`, `tflite-int8` or `tflite-fp16`.

    Raises:
        InputError: The folder is not a release, has no file of this format, or its files are not those of its manifest.
    """
    manifest = Manifest.read(release)
    if format == "saved_model":
        check_files(release, manifest, lambda path: path.split("/")[0] in _SAVED_MODEL)
        return SavedModelGenerator(str(release))
    if _FILES[format] not in manifest.files:
        raise InputError(_why_left_out(release, manifest, format))
    check_files(release, manifest, lambda path: path in (_FILES[format], _TOKENIZER))
    return LiteRTGenerator(str(release / _FILES[format]), str(release / _TOKENIZER))


def _why_left_out(release: Path, manifest: Manifest, format: str) -> str:
    measured = manifest.tflite.get(_PRECISIONS[format])
    reason = f"It did not pass its gate: {measured['verdict']}. " if measured else ""
    available = ["saved_model", *(name for name, file in _FILES.items() if file in manifest.files)]
    return (
        f"--format must be a format that the release holds. Received: {format}, but {release} holds no "
        f"{_FILES[format]}. {reason}Use --format {' or --format '.join(available)}, or another --release."
    )
