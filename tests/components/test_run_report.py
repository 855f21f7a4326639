import json
from pathlib import Path

import pytest
from tfx.dsl.components.base import base_executor
from tfx.proto.orchestration import pipeline_pb2
from tfx.types import artifact, channel, standard_artifacts

from components.artifact_types import Report
from components.run_report import executor
from components.run_report.component import RunReport
from tests.toys import cloud_storage
from tests.toys.report import CONFIGURATION, PROPERTIES, REFUSED, TYPES, write_artifacts

CLASSES = {kind.TYPE_NAME: kind for kind in (
    standard_artifacts.Examples, standard_artifacts.Model, standard_artifacts.ModelRun,
    standard_artifacts.ModelEvaluation, standard_artifacts.ModelBlessing,
)}  # fmt: skip


def inputs(folder: Path | str) -> dict[str, list[artifact.Artifact]]:
    """Returns the folders of `write_artifacts` as artifacts, as TFX passes them."""
    artifacts = {}
    for number, (name, kind) in enumerate(TYPES.items(), start=11):
        found = CLASSES[kind]()
        found.uri, found.id = f"{folder}/{name}", number
        for key, value in PROPERTIES.get(name, {}).items():
            if isinstance(value, int):
                found.set_int_custom_property(key, value)
            elif isinstance(value, float):
                found.set_float_custom_property(key, value)
            else:
                found.set_string_custom_property(key, value)
        artifacts[name] = [found]
    return artifacts


def run(folder: Path | str, artifacts: dict[str, list[artifact.Artifact]]) -> Report:
    output = Report()
    output.uri = f"{folder}/report"
    context = base_executor.BaseExecutor.Context(
        tmp_dir=f"{folder}/tmp", unique_id="1",
        pipeline_info=pipeline_pb2.PipelineInfo(id="poems"), pipeline_run_id="20261123T1",
    )  # fmt: skip
    executor.Executor(context).Do(artifacts, {"report": [output]}, {"configuration": json.dumps(CONFIGURATION)})
    return output


def test_a_refused_first_model_has_a_report(tmp_path: Path) -> None:
    write_artifacts(tmp_path, checks=[REFUSED], blessed=False)
    output = run(tmp_path, {**inputs(tmp_path), "baseline_model": []})
    sentence = "Refused: perplexity 152 is above 150 (evaluation.max_perplexity)."
    assert output.get_string_custom_property("verdict") == sentence
    assert output.get_int_custom_property("blessed") == 0
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "<title>Refused: poems, run 20261123T1</title>" in page
    card = (tmp_path / "report" / "model_card.md").read_text(encoding="utf-8")
    assert "| model\\_int8 | Model | 19 |" in card
    assert "baseline" not in card


def test_the_baseline_is_in_the_lineage(tmp_path: Path) -> None:
    write_artifacts(tmp_path)
    baseline = standard_artifacts.Model()
    baseline.id = 5
    output = run(tmp_path, {**inputs(tmp_path), "baseline_model": [baseline]})
    assert output.get_string_custom_property("verdict") == "Blessed: the one gate passed."
    assert "| baseline\\_model | Model | 5 |" in (tmp_path / "report" / "model_card.md").read_text(encoding="utf-8")


def test_a_report_is_written_to_cloud_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_artifacts(tmp_path / "bucket", checks=[REFUSED], blessed=False)
    cloud_storage.mount(tmp_path / "bucket", monkeypatch)
    output = run(cloud_storage.BUCKET, {**inputs(cloud_storage.BUCKET), "baseline_model": []})
    assert output.get_int_custom_property("blessed") == 0
    report = tmp_path / "bucket" / "report"
    assert "<title>Refused: poems, run 20261123T1</title>" in (report / "report.html").read_text(encoding="utf-8")
    assert "Roses are red." in (report / "model_card.md").read_text(encoding="utf-8")
    assert cloud_storage.stray_files(tmp_path / "bucket") == []


def test_wrong_wiring_fails_when_the_pipeline_is_built() -> None:
    channels = {name: channel.Channel(type=CLASSES[kind]) for name, kind in TYPES.items()}
    assert RunReport(configuration=json.dumps(CONFIGURATION), **channels).outputs["report"].type is Report
    with pytest.raises(TypeError, match="ModelRun"):
        RunReport(configuration=json.dumps(CONFIGURATION), **{**channels, "model_run": channels["model"]})
    with pytest.raises(ValueError, match="Received: no data"):
        RunReport(configuration='{"model": {}}', **channels)
