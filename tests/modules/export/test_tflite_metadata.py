import shutil
import zipfile
from pathlib import Path

import pytest

from modules.export import tflite_metadata
from modules.export.tflite_files import PRECISIONS
from modules.export.tflite_metadata import ModelCard
from modules.serving.litert_model import LiteRTModel
from tests.toys.release import converted_release

installed = pytest.mark.skipif(not tflite_metadata.available(), reason="needs the extra tflite-metadata")


@installed
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_converted_file_contains_its_description(precision: str) -> None:
    release, conversion = converted_release()
    assert conversion.metadata_embedded
    card = tflite_metadata.read(release.tflite(precision))
    assert card["name"] == "tiny"
    assert card["description"] == f"A test. Weights: {precision}."
    assert (card["version"], card["author"]) == ("7", "tfx-gpt2")
    assert card["license"] == "not stated; the training data's terms apply"
    (subgraph,) = card["subgraph_metadata"]
    descriptions = {tensor["name"]: tensor["description"] for tensor in subgraph["input_tensor_metadata"]}
    assert sorted(descriptions) == [
        "input_pos",
        "kv_cache_k_0",
        "kv_cache_k_1",
        "kv_cache_v_0",
        "kv_cache_v_1",
        "tokens",
    ]
    assert descriptions["kv_cache_v_1"] == (
        "Attention values of layer 1, float32 [1, heads, context, head_dim]; zeros at first."
    )
    with zipfile.ZipFile(release.tflite(precision)) as archive:
        assert archive.read("tokenizer.json") == Path(release.tokenizer_json).read_bytes()


@installed
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_new_card_replaces_the_old_one_and_the_model_still_runs(precision: str, tmp_path: Path) -> None:
    release, _ = converted_release()
    path = str(tmp_path / "model.tflite")
    shutil.copyfile(release.tflite(precision), path)
    assert tflite_metadata.embed(path, ModelCard(name="again", description="", version="8"))
    assert tflite_metadata.read(path)["name"] == "again"
    assert tflite_metadata.read(path)["packed_files"] == []
    before, after = (LiteRTModel(file).decode(258, 0).tolist() for file in (release.tflite(precision), path))
    assert before == after


@installed
def test_a_file_that_is_not_tflite_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"not a model")
    with pytest.raises(ValueError, match=r"has TFL3 as bytes 4 to 8\. Received: .* with b'a mo'"):
        tflite_metadata.embed(str(tmp_path / "file"), ModelCard(name="", description="", version=""))


def test_without_the_library_nothing_is_embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tflite_metadata.importlib.util, "find_spec", lambda name: None)
    (tmp_path / "file").write_bytes(b"1234TFL3")
    assert not tflite_metadata.embed(str(tmp_path / "file"), ModelCard(name="", description="", version=""))
    assert (tmp_path / "file").read_bytes() == b"1234TFL3"
