import json
from pathlib import Path

import pytest

from modules.common.errors import InputError
from modules.model.sampling import SamplingSettings
from modules.serving import continuation
from modules.serving.continuation import continue_prompt, open_generator
from pipeline import cli

VERDICT = "rise in perplexity of int8: 5% is above 2% (evaluation.tflite.max_rise.int8)"


def _release(folder: Path, **facts) -> Path:
    manifest = {"data": {}, "files": {"tflite/model_fp16.tflite": {}}, **facts}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_a_file_that_was_not_released_is_reported_with_its_verdict(tmp_path: Path) -> None:
    release = _release(tmp_path, tflite={"int8": {"verdict": VERDICT}})
    with pytest.raises(InputError) as raised:
        open_generator(release, "tflite-int8")
    assert str(raised.value) == (
        "--format must be a format that the release holds. "
        f"Received: tflite-int8, but {release} holds no tflite/model_int8.tflite. It did not pass its gate: {VERDICT}. "
        "Use --format saved_model or --format tflite-fp16, or another --release."
    )


@pytest.mark.parametrize("format", ["saved_model", "tflite-fp16"])
def test_files_that_are_not_those_of_the_manifest_are_not_opened(tmp_path: Path, format: str) -> None:
    (tmp_path / "tflite").mkdir()
    for name in ("saved_model.pb", "tflite/model_fp16.tflite"):
        (tmp_path / name).write_bytes(b"cut")
    with pytest.raises(InputError, match=r"exactly the files that its manifest\.json lists\. Received: .* has other"):
        open_generator(_release(tmp_path, files={"saved_model.pb": {}, "tflite/model_fp16.tflite": {}}), format)


@pytest.mark.parametrize(
    "content",
    ["no JSON", "[]", "{}", None, '{"data": 1, "files": {}}', '{"data": {}, "files": {"a": 1}}', "[" * 100_000],
)
def test_a_folder_that_is_not_a_release_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(InputError, match=r"must be a folder with a manifest\.json\. Received: "):
        open_generator(tmp_path, "saved_model")


class Recorder:
    """Generator with a token per character, which keeps the prompts that it gets."""

    context_length = 100

    def __init__(self) -> None:
        self.prompts: list[str] = []

    def count_tokens(self, text: str) -> int:
        return len(text)

    def generate(self, prompt: str, settings: SamplingSettings) -> str:
        self.prompts.append(prompt)
        return " it"


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(continuation, "open_generator", lambda release, format: recorder)
    return recorder


def test_a_long_instruction_keeps_its_template(tmp_path: Path, recorder: Recorder) -> None:
    release = _release(tmp_path, data={"prompt_template": "chat"})
    found = continue_prompt(release, "saved_model", "Say " + "very " * 40 + "much", SamplingSettings(max_new_tokens=30))
    assert recorder.prompts[0].startswith("User:\nSay very ")
    assert recorder.prompts[0].endswith(" very much\n\nAssistant:\n")
    assert found.prompt.kept == len(recorder.prompts[0]) <= 69
    assert found.prompt.tokens == len("User:\nSay  much\n\nAssistant:\n") + 5 * 40 - 1
    assert (found.text, found.context_length) == (" it", 100)


def test_a_template_without_room_for_a_word_is_refused_and_the_cure_works(tmp_path: Path, recorder: Recorder) -> None:
    release = _release(tmp_path, data={"prompt_template": "chat"})
    recorder.context_length = 30
    with pytest.raises(
        InputError, match=r"needs 21 tokens with a word. Received: a context of 30 .* 15 are kept"
    ) as no:
        continue_prompt(release, "saved_model", "Hi", SamplingSettings(max_new_tokens=20))
    assert "Use --max-new-tokens 9 or fewer" in str(no.value)
    continue_prompt(release, "saved_model", "H", SamplingSettings(max_new_tokens=9))
    assert recorder.prompts == ["User:\nH\n\nAssistant:\n"]
    recorder.context_length = 20
    with pytest.raises(InputError, match=r"Use --raw, or a model"):
        continue_prompt(release, "saved_model", "Hi", SamplingSettings(max_new_tokens=1))
    assert continue_prompt(release, "saved_model", "Hi", SamplingSettings(max_new_tokens=1), raw=True).text == " it"


@pytest.mark.parametrize(
    ("prompt", "raw", "said"),
    [
        ("H", False, ""),
        (
            "a" * 99,
            True,
            "The prompt has 99 tokens, and the model got 70 of them: 29 were left out from its beginning.",
        ),
        ("a" * 99, False, "tokens with its template, and the model got"),
    ],
)
def test_generate_reports_on_standard_error_what_was_cut(
    tmp_path: Path,
    recorder: Recorder,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    prompt: str,
    raw: bool,
    said: str,
) -> None:
    monkeypatch.setattr(continuation, "discard_stderr", lambda: None)
    release = _release(tmp_path, data={"prompt_template": "chat"})
    cli.generate(prompt=prompt, release=release, max_new_tokens=30, raw=raw)
    printed = capfd.readouterr()
    assert printed.out.endswith(" it\n")
    assert said in printed.err
    assert printed.err.count("\n") == (1 if said else 0)
    if said:
        assert "Its context has 100 tokens, of which 30 are kept for new tokens." in printed.err
