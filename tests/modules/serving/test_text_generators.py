import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from modules.common.errors import InputError
from modules.model.sampling import SamplingSettings
from modules.serving.text_generators import LiteRTGenerator, SavedModelGenerator
from modules.tokenization.vocabulary_files import read_table, write_tokenizer_folder
from tests.toys.release import CONTEXT_LENGTH, converted_release, reference_greedy

# Lengths near the prefills of 4 and 16 and the context of 32, and a text that the tokenizer must not read as a token.
PROMPTS = ["", "a", "abc", "abcd", "x y z, the then", "q" * 20, "q" * 31, "q" * 200, "<|endoftext|>", "Ünï 𝄞"]


def _litert(precision: str) -> LiteRTGenerator:
    release, _ = converted_release()
    return LiteRTGenerator(release.tflite(precision), release.tokenizer_json)


def _saved_model() -> SavedModelGenerator:
    return SavedModelGenerator(converted_release()[0].saved_model)


def _agreeing_characters(left: str, right: str) -> int:
    return next((at for at, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), len(left))


def test_float16_continues_every_prompt_like_the_saved_model() -> None:
    saved_model, float16 = _saved_model(), _litert("float16")
    expected = [saved_model.generate(prompt, SamplingSettings(max_new_tokens=12)) for prompt in PROMPTS]
    assert [float16.generate(prompt, SamplingSettings(max_new_tokens=12)) for prompt in PROMPTS] == expected
    assert expected[2] == reference_greedy("abc", 12).decode(errors="replace")


def test_int8_text_begins_like_that_of_the_saved_model() -> None:
    saved_model, int8 = _saved_model(), _litert("int8")
    pairs = [
        (
            saved_model.generate(prompt, SamplingSettings(max_new_tokens=12)),
            int8.generate(prompt, SamplingSettings(max_new_tokens=12)),
        )
        for prompt in PROMPTS
    ]
    agreeing = [_agreeing_characters(*pair) for pair in pairs]
    print(f"characters before int8 differs, of {[len(left) for left, _ in pairs]}: {agreeing}")
    assert min(agreeing) >= 1
    assert sum(agreeing) > 60


def test_the_same_seed_draws_the_same_text_in_both_runtimes() -> None:
    settings = {"max_new_tokens": 6, "temperature": 0.7, "top_k": 20}
    saved_model, float16 = _saved_model(), _litert("float16")
    texts = [saved_model.generate("abc", SamplingSettings(seed=seed, **settings)) for seed in range(4)]
    assert len(set(texts)) == 4
    assert [float16.generate("abc", SamplingSettings(seed=seed, **settings)) for seed in range(4)] == texts


def test_a_text_does_not_depend_on_an_earlier_prompt() -> None:
    generator = _litert("float16")
    first = generator.generate("abc", SamplingSettings(max_new_tokens=5))
    generator.generate("something else entirely", SamplingSettings(max_new_tokens=20))
    assert generator.generate("abc", SamplingSettings(max_new_tokens=5)) == first


def test_litert_runs_without_tensorflow() -> None:
    release, _ = converted_release()
    code = (
        "import sys; sys.modules['tensorflow'] = None; "
        "from modules.serving.text_generators import LiteRTGenerator as G; "
        "from modules.model.sampling import SamplingSettings; "
        "sys.stdout.buffer.write(G(*sys.argv[1:]).generate('abc', SamplingSettings(max_new_tokens=9)).encode())"
    )
    command = [sys.executable, "-c", code, release.tflite("float16"), release.tokenizer_json]
    run = subprocess.run(command, capture_output=True, timeout=300, cwd=Path(__file__).parents[3], check=True)
    assert run.stdout.decode() == reference_greedy("abc", 9).decode(errors="replace")


def test_missing_files_are_refused() -> None:
    with pytest.raises(InputError, match=r"must hold saved_model\.pb\. Received: /nowhere, "):
        SavedModelGenerator("/nowhere")
    with pytest.raises(InputError, match=r"Received: /nowhere\.tflite, which is not a file"):
        LiteRTGenerator("/nowhere.tflite", converted_release()[0].tokenizer_json)
    with pytest.raises(InputError, match=r"Received: /nowhere\.json, which is not a file"):
        LiteRTGenerator(converted_release()[0].tflite("int8"), "/nowhere.json")


def test_a_tokenizer_without_end_of_text_is_refused(tmp_path: Path) -> None:
    release, _ = converted_release()
    write_tokenizer_folder(read_table(release.table), tmp_path)
    path = tmp_path / "tokenizer.json"
    path.write_text(path.read_text(encoding="utf-8").replace("<|endoftext|>", "<eos>"), encoding="utf-8")
    with pytest.raises(InputError, match=r"must have the token <\|endoftext\|>"):
        LiteRTGenerator(release.tflite("int8"), str(path))


@pytest.mark.parametrize("prompt", ["", "abc"])
def test_the_largest_number_of_new_tokens_fills_the_context(prompt: str) -> None:
    for generator in (_saved_model(), _litert("float16"), _litert("int8")):
        whole = SamplingSettings(max_new_tokens=CONTEXT_LENGTH, temperature=0.7, top_k=2**31 - 1, seed=2**31 - 1)
        text = generator.generate(prompt, whole)
        assert text
        assert generator.generate(prompt, dataclasses.replace(whole, max_new_tokens=2**31 - 1)) == text
