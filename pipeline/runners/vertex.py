"""Compiler of the DAG into a pipeline spec of schema 2.1 for Vertex Pipelines; needs no account and no network."""

from pathlib import Path

from modules.common.errors import InputError
from pipeline.config import PipelineConfig


def compile_pipeline(config: PipelineConfig, output: Path, *, image: str, pipeline_root: str) -> None:
    """Writes the pipeline spec.

    On Vertex the image's tag identifies the code, so new code needs a new tag. The hash of the text is computed now, so
    a changed text needs a new spec.

    Args:
        config: Settings of the run.
        output: YAML file to write; its folder must exist.
        image: Container image with this project installed; every step runs in it.
        pipeline_root: `gs://` folder of artifacts, with releases under `releases/` and TFDS data under `tfds/`.

    Raises:
        InputError: kfp is not installed, or the output is not a .yaml file in an existing folder.
    """
    if output.suffix not in (".yaml", ".yml"):
        raise InputError(f"--output must end with .yaml. Received: {output}.")
    if not output.absolute().parent.is_dir() or output.is_dir():
        raise InputError(f"--output must be a file in a folder that exists. Received: {output}. Correct the path.")
    try:
        from tfx.orchestration.kubeflow.v2.kubeflow_v2_dag_runner import (
            KubeflowV2DagRunner,
            KubeflowV2DagRunnerConfig,
        )
    except ImportError as error:
        raise InputError("compiling needs kfp: install the extra `cloud`, e.g. by `make setup`.") from error

    from pipeline.dag import create_pipeline
    from pipeline.placement import Placement

    runner = KubeflowV2DagRunner(
        KubeflowV2DagRunnerConfig(display_name=config.name, default_image=image, use_pipeline_spec_2_1=True),
        output_filename=str(output.absolute()),
    )
    runner.run(create_pipeline(config, Placement.vertex(config, pipeline_root)))
