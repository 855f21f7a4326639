import json
from pathlib import Path
from typing import Any

import pytest
from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd
from tfx.dsl.components.base import base_executor
from tfx.proto.orchestration import pipeline_pb2
from tfx.types import standard_artifacts

from components.integrity import check_outputs, checked, measured_hashes, record_measured
from components.mlmd_properties import WRITTEN_FILES
from modules.common.errors import InputError
from modules.common.files import folder_hashes
from tests.toys import cloud_storage

Artifacts = dict[str, list[Any]]


class Writer(base_executor.BaseExecutor):
    @checked
    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        folder = Path(output_dict["model"][0].uri)
        (folder / "variables").mkdir(parents=True)
        (folder / "variables" / "data").write_bytes(b"weights")
        (folder / "saved_model.pb").write_bytes(b"graph")


class Reader(base_executor.BaseExecutor):
    @checked
    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
        record_measured(output_dict["evaluation"][0], {"model": input_dict["model"][0]})


@pytest.fixture
def model(tmp_path: Path) -> standard_artifacts.Model:
    model = standard_artifacts.Model()
    model.uri = str(tmp_path / "Trainer" / "model" / "7")
    node = pipeline_pb2.PipelineNode(node_info={"id": "Trainer"})
    Writer(base_executor.BaseExecutor.Context(pipeline_node=node)).Do({}, {"model": [model]}, {})
    return model


def read(model: standard_artifacts.Model) -> standard_artifacts.ModelEvaluation:
    evaluation = standard_artifacts.ModelEvaluation()
    evaluation.uri = f"{model.uri}_evaluation"
    Reader().Do({"model": [model]}, {"evaluation": [evaluation]}, {})
    return evaluation


def test_an_evaluation_records_the_hash_of_every_file_that_it_measured(model: standard_artifacts.Model) -> None:
    assert measured_hashes(read(model)) == {"model": folder_hashes(model.uri)}
    assert folder_hashes(model.uri).keys() == {"saved_model.pb", "variables/data"}


def test_a_changed_missing_or_new_file_is_named_with_its_node_and_the_cure(model: standard_artifacts.Model) -> None:
    data = Path(model.uri, "variables", "data")
    cure = rf"Delete the folder {model.uri} and run again without `--from-node`: then Trainer and the nodes after it"
    data.write_bytes(b"weighty")
    with pytest.raises(InputError, match=rf"as Trainer wrote them\. Received: {data}, whose content .*{cure}"):
        read(model)
    data.unlink()
    with pytest.raises(InputError, match=rf"Received: {data}, which is gone"):
        read(model)
    data.write_bytes(b"weights")
    read(model)
    Path(model.uri, "more").touch()
    with pytest.raises(InputError, match=r"more, which is new\. Remove this file, if nothing needs it\. Or delete the"):
        read(model)


def test_a_file_that_changes_while_a_node_reads_it_is_noticed(model: standard_artifacts.Model) -> None:
    class Changing(base_executor.BaseExecutor):
        @checked
        def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:
            Path(model.uri, "saved_model.pb").write_bytes(b"graft")

    with pytest.raises(InputError, match=r"saved_model\.pb, whose content is another"):
        Changing().Do({"model": [model]}, {}, {})


def test_files_that_are_in_the_folder_of_a_new_output_are_refused(model: standard_artifacts.Model) -> None:
    with pytest.raises(InputError, match=r"the folder of a new artifact must be empty\. Received: .*saved_model\.pb"):
        Writer().Do({}, {"model": [model]}, {})


def test_an_evaluation_of_an_older_version_is_not_published() -> None:
    with pytest.raises(InputError, match=r"Received: the evaluation in .*, of an older version\. Run again without"):
        measured_hashes(standard_artifacts.ModelEvaluation())


def test_an_artifact_of_an_older_version_is_read_with_a_warning(
    model: standard_artifacts.Model, caplog: pytest.LogCaptureFixture
) -> None:
    model.set_string_custom_property(WRITTEN_FILES, "")
    assert measured_hashes(read(model)) == {"model": folder_hashes(model.uri)}
    assert "no recorded hashes" in caplog.text


def test_artifacts_in_cloud_storage_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_bytes(b"weights")
    cloud_storage.mount(tmp_path, monkeypatch)
    model = standard_artifacts.Model()
    model.uri = f"{cloud_storage.BUCKET}/model"
    model.set_string_custom_property(WRITTEN_FILES, json.dumps({"node": "Trainer", "sha256": folder_hashes(model.uri)}))
    read(model)
    (tmp_path / "model" / "weights").write_bytes(b"weighty")
    with pytest.raises(InputError, match="gs://bucket/model/weights, whose content"):
        read(model)


def test_the_results_of_a_cached_execution_are_checked(model: standard_artifacts.Model) -> None:
    connection = mlmd.ConnectionConfig()
    connection.fake_database.SetInParent()
    store = metadata_store.MetadataStore(connection)
    artifact_type = store.put_artifact_type(mlmd.ArtifactType(name="Model"))
    execution_type = store.put_execution_type(mlmd.ExecutionType(name="Trainer"))
    written = mlmd.Artifact(type_id=artifact_type, uri=model.uri)
    written.custom_properties[WRITTEN_FILES].string_value = model.get_string_custom_property(WRITTEN_FILES)
    event = mlmd.Event(type=mlmd.Event.OUTPUT)
    event.path.steps.add().key = "model"
    execution_id, _, _ = store.put_execution(mlmd.Execution(type_id=execution_type), [(written, event)], [])
    check_outputs(store, execution_id)
    Path(model.uri, "saved_model.pb").write_bytes(b"graft")
    with pytest.raises(InputError, match=r"saved_model\.pb, whose content is another"):
        check_outputs(store, execution_id)
