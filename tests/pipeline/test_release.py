"""Files of a release, which must work without this project."""

import getpass
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.toys.checkout import Checkout, FinishedRun

PROMPT = "The statement"

SAVED_MODEL = """
import sys
import tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
text = model.signatures["serving_default"](prompt=tf.constant([sys.argv[2]]))["text"].numpy()[0]
assert not {"keras_hub", "tensorflow_text", "tfx", "modules"} & set(sys.modules), "more than tensorflow"
sys.stdout.buffer.write(text)
"""

SAVED_MODEL_DRAWS = SAVED_MODEL.replace(
    'signatures["serving_default"](prompt=tf.constant([sys.argv[2]]))',
    'signatures["generate"](prompt=tf.constant([sys.argv[2]]), max_new_tokens=tf.constant(40), '
    "temperature=tf.constant(0.9), top_k=tf.constant(0), seed=tf.constant(1))",
)

TFLITE = """
import sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from tokenizers import Tokenizer
release, name, prompt = sys.argv[1:]
tokenizer = Tokenizer.from_file(release + "/tokenizer/tokenizer.json")
decode = Interpreter(release + "/tflite/" + name).get_signature_runner("decode")
caches = {
    key: np.zeros(detail["shape"], np.float32)
    for key, detail in decode.get_input_details().items() if key.startswith("kv_cache")
}
end = tokenizer.token_to_id("<|endoftext|>")
ids, new, position = [end, *tokenizer.encode(prompt).ids], [], 0
limit = min(64, next(iter(caches.values())).shape[2] - len(ids))
while len(new) < limit:
    token = ids[position] if position < len(ids) else new[-1]
    out = decode(tokens=np.array([[token]], np.int32), input_pos=np.array([position], np.int32), **caches)
    logits = out.pop("logits")
    caches = out
    position += 1
    if position >= len(ids):
        new.append(int(logits[0, 0].argmax()))
        if new[-1] == end:
            break
assert not {"tensorflow", "keras", "modules"} & set(sys.modules), "more than ai_edge_litert"
sys.stdout.buffer.write(tokenizer.decode([i for i in new if i != end]).encode())
"""


def other_process(tmp_path: Path, program: str, *arguments: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=tmp_path, capture_output=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stderr.decode()
    return result.stdout.decode()


@pytest.fixture(scope="module")
def greedy(release: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return other_process(tmp_path_factory.mktemp("elsewhere"), SAVED_MODEL, str(release), PROMPT)


def test_the_folder_is_what_tf_serving_and_the_readme_expect(release: Path) -> None:
    names = {path.relative_to(release).as_posix() for path in release.rglob("*") if path.is_file()}
    assert names >= {
        "saved_model.pb", "variables/variables.index", "assets/vocabulary.tsv", "manifest.json",
        "report.html", "MODEL_CARD.md",
        "tflite/model_fp16.tflite", "tflite/model_int8.tflite",
        "tokenizer/vocabulary.json", "tokenizer/merges.txt", "tokenizer/tokenizer.json",
    }  # fmt: skip
    assert release.name.isdigit()
    assert not list(release.parent.glob(".incoming*"))


def test_the_manifest_describes_every_file(release: Path) -> None:
    manifest = json.loads((release / "manifest.json").read_text())
    files = {path.relative_to(release).as_posix(): path for path in release.rglob("*") if path.is_file()}
    del files["manifest.json"]
    assert set(manifest["files"]) == set(files)
    for name, path in files.items():
        content = path.read_bytes()
        assert manifest["files"][name] == {
            "sha256": hashlib.sha256(content).hexdigest(),
            "size_bytes": len(content),
        }


def test_no_file_names_the_machine_that_wrote_it(release: Path, checkout: Checkout) -> None:
    # A user's name may be a word of the text; in a path, it is between slashes.
    names = (str(checkout.folder), tempfile.gettempdir() + "/", str(Path.home()) + "/", f"/{getpass.getuser()}/")
    for path in release.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert [name for name in names if name.encode() in content] == [], path


def test_the_manifest_leads_back_to_the_data(release: Path, first_run: FinishedRun) -> None:
    manifest = json.loads((release / "manifest.json").read_text())
    run = first_run.run
    assert manifest["run"] == run.id
    assert manifest["metrics"]["perplexity"] == run.perplexity
    assert (manifest["gate"]["max_perplexity"], manifest["gate"]["max_regression"]) == (300, 0.25)
    assert {name: file["released"] for name, file in manifest["tflite"].items()} == {"float16": True, "int8": True}
    assert manifest["mlmd"]["artifact_ids"]["model"] == run.output("Trainer", "model").id
    fingerprint = run.measured("TextExampleGen", "examples", "input_fingerprint")
    assert manifest["data"]["input_fingerprint"] == fingerprint


def test_saved_model_needs_only_tensorflow_and_continues_text(release: Path, greedy: str, tmp_path: Path) -> None:
    assert len(greedy) >= 20
    # The most likely token of such a small model is often a space; sampled tokens are words.
    drawn = other_process(tmp_path, SAVED_MODEL_DRAWS, str(release), PROMPT)
    assert len(drawn.split()) >= 5, drawn


def test_fp16_gives_the_same_text_in_a_process_with_only_litert(release: Path, greedy: str, tmp_path: Path) -> None:
    assert other_process(tmp_path, TFLITE, str(release), "model_fp16.tflite", PROMPT) == greedy


def test_int8_text_begins_with_the_same_characters(release: Path, greedy: str, tmp_path: Path) -> None:
    text = other_process(tmp_path, TFLITE, str(release), "model_int8.tflite", PROMPT)
    same = next((n for n, pair in enumerate(zip(text, greedy, strict=False)) if pair[0] != pair[1]), len(text))
    assert same >= 10


@pytest.mark.parametrize(
    ("format", "space"), [("saved_model", ""), ("saved_model", " "), ("tflite-fp16", ""), ("tflite-int8", " ")]
)
def test_generate_prints_the_prompt_and_its_continuation(
    checkout: Checkout, release, greedy, format: str, space: str
) -> None:
    result = checkout.command(
        "generate", "--prompt", PROMPT + space, "--release", str(release), "--format", format, "--temperature", "0"
    )
    assert result.returncode == 0, result.stderr
    expected = PROMPT + space + (greedy.removeprefix(" ") if space else greedy)
    assert result.stdout[: len(PROMPT) + 10] == expected[: len(PROMPT) + 10]
    if format != "tflite-int8":
        assert result.stdout.rstrip("\n") == expected.rstrip("\n")
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("format", "damaged", "content"),
    [
        ("saved_model", "saved_model.pb", b"cut"),
        ("saved_model", "variables/variables.index", b""),
        ("saved_model", "assets/vocabulary.tsv", None),
        ("tflite-int8", "tflite/model_int8.tflite", b"TFL3" * 25),
        ("tflite-fp16", "tokenizer/tokenizer.json", b"{}"),
        ("tflite-fp16", "manifest.json", b'{"data": {}, "files": {"tflite/model_fp16.tflite": {}}}'),
    ],
)
def test_a_damaged_release_is_not_opened(
    checkout: Checkout, release: Path, tmp_path: Path, format: str, damaged: str, content: bytes | None
) -> None:
    copy = Path(shutil.copytree(release, tmp_path / "release"))
    (copy / damaged).unlink()
    if content is not None:
        (copy / damaged).write_bytes(content)
    result = checkout.command("generate", "--prompt", "x", "--release", str(copy), "--format", format)
    assert (result.returncode, result.stdout) == (2, ""), result.stderr
    path = "tflite/model_fp16.tflite" if damaged == "manifest.json" else damaged
    problem = "is missing" if content is None else "has other content"
    assert f"a release must hold exactly the files that its manifest.json lists. Received: {copy}" in result.stderr
    assert f"'{path}' {problem}. Copy the release again" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_generate_without_a_release_names_the_cure(checkout: Checkout, tmp_path: Path) -> None:
    result = checkout.command("generate", "--prompt", "x", "--workspace", str(tmp_path))
    assert result.returncode == 2
    assert "holds no release. Run `make run` first" in result.stderr
    assert "make run" in result.stderr
