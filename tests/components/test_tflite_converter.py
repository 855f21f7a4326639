import os
import shutil
from pathlib import Path

import pytest
from tfx.dsl.components.base import base_executor
from tfx.types import channel, standard_artifacts

from components.tflite_converter import executor
from components.tflite_converter.component import TFLiteConverter
from modules.common.files import file_facts
from modules.export import tflite_metadata
from modules.model.sampling import SamplingSettings
from modules.serving.text_generators import LiteRTGenerator
from tests.toys import cloud_storage
from tests.toys.release import reference_greedy, saved_release


def test_both_files_have_recorded_facts_and_continue_text(tmp_path: Path) -> None:
    model = standard_artifacts.Model()
    model.uri, model.id = os.path.dirname(saved_release().preset), 41
    outputs = {key: [standard_artifacts.Model()] for key in ("model_fp16", "model_int8")}
    for key, (output,) in outputs.items():
        output.uri = str(tmp_path / key)
    context = base_executor.BaseExecutor.Context(tmp_dir=str(tmp_path / "tmp"), unique_id="1")
    executor.Executor(context).Do({"model": [model]}, outputs, {"context_length": 32, "prefill_lengths": "[4, 16]"})
    for key, precision in (("model_fp16", "float16"), ("model_int8", "int8")):
        (output,) = outputs[key]
        path = Path(output.uri, "Format-TFLite", "model.tflite")
        facts = file_facts(str(path))
        assert output.get_string_custom_property("precision") == precision
        assert output.get_string_custom_property("sha256") == facts["sha256"]
        assert output.get_int_custom_property("size_bytes") == facts["size_bytes"]
        assert output.get_int_custom_property("metadata_embedded") == int(tflite_metadata.available())
        assert sorted(file.name for file in path.parent.iterdir()) == ["model.scoring.tflite", "model.tflite"]
        text = LiteRTGenerator(str(path), saved_release().tokenizer_json).generate(
            "abc", SamplingSettings(max_new_tokens=3)
        )
        assert text == reference_greedy("abc", 3).decode(errors="replace")
    if tflite_metadata.available():
        assert tflite_metadata.read(str(path))["version"] == "model artifact 41"


def test_files_are_written_to_cloud_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = tmp_path / "bucket"
    shutil.copytree(os.path.dirname(saved_release().preset), bucket / "model")
    model = standard_artifacts.Model()
    model.uri = f"{cloud_storage.BUCKET}/model"
    outputs = {key: [standard_artifacts.Model()] for key in ("model_fp16", "model_int8")}
    for key, (output,) in outputs.items():
        output.uri = f"{cloud_storage.BUCKET}/{key}"
    context = base_executor.BaseExecutor.Context(tmp_dir=str(tmp_path / "tmp"), unique_id="1")
    cloud_storage.mount(bucket, monkeypatch)
    executor.Executor(context).Do({"model": [model]}, outputs, {"context_length": 32, "prefill_lengths": "[16]"})
    for key, (output,) in outputs.items():
        folder = bucket / key / "Format-TFLite"
        assert sorted(file.name for file in folder.iterdir()) == ["model.scoring.tflite", "model.tflite"]
        assert output.get_string_custom_property("sha256") == file_facts(folder / "model.tflite")["sha256"]
    assert cloud_storage.stray_files(bucket) == []


def test_wrong_wiring_fails_when_the_pipeline_is_built() -> None:
    with pytest.raises(TypeError, match="Examples"):
        TFLiteConverter(model=channel.Channel(type=standard_artifacts.Examples), context_length=32)
