"""The compiled spec holds the same DAG, and Vertex's own client accepts it without account and network."""

from pathlib import Path

import pytest
import yaml
from google.auth.credentials import AnonymousCredentials
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from tests.toys.checkout import ALL, Checkout


@pytest.fixture(scope="module")
def spec_path(checkout: Checkout) -> Path:
    result = checkout.command(
        "compile", "--target", "vertex", "--output", "spec.yaml", "--config", "recipe.yaml",
        "--image", "example.com/tfx-gpt2:1", "--pipeline-root", "gs://bucket/tfx-gpt2",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return checkout.folder / "spec.yaml"


def test_the_spec_is_of_schema_2_1_and_parses_strictly(spec_path: Path) -> None:
    spec = yaml.safe_load(spec_path.read_text())
    assert spec["schemaVersion"].startswith("2.1")
    parsed = json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    assert parsed.pipeline_info.name == "topics"


def test_the_spec_holds_the_same_nodes_each_in_the_projects_image(spec_path: Path) -> None:
    spec = yaml.safe_load(spec_path.read_text())
    tasks = set(spec["root"]["dag"]["tasks"])
    assert {name for name in tasks if not name.startswith("LatestBlessedModel")} == ALL
    assert tasks - ALL  # Vertex resolves the latest blessed model in tasks of its own
    containers = [e["container"] for e in spec["deploymentSpec"]["executors"].values() if "container" in e]
    assert {container["image"] for container in containers} == {"example.com/tfx-gpt2:1"}
    assert len(containers) == len(ALL)


def test_transform_waits_for_the_data_gate(spec_path: Path) -> None:
    tasks = yaml.safe_load(spec_path.read_text())["root"]["dag"]["tasks"]
    assert "AnomalyGate" in tasks["Transform"]["dependentTasks"]
    assert "Evaluator" in tasks["Pusher"]["dependentTasks"]


def test_vertexs_client_accepts_the_spec(spec_path: Path) -> None:
    from google.cloud import aiplatform

    job = aiplatform.PipelineJob(
        display_name="topics", template_path=str(spec_path), project="project", location="us-central1",
        credentials=AnonymousCredentials(), pipeline_root="gs://bucket/tfx-gpt2",
    )  # fmt: skip
    assert set(job.to_dict()["pipelineSpec"]["root"]["dag"]["tasks"]) >= ALL


def test_an_output_that_is_no_yaml_file_is_refused(checkout: Checkout) -> None:
    result = checkout.command("compile", "--output", "spec.txt", "--config", "recipe.yaml")
    assert result.returncode == 2
    assert "--output must end with .yaml" in result.stderr
