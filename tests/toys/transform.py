"""Transform with the project's preprocessing function, on rows of a test."""

import ast
import functools
from pathlib import Path
from typing import Any

import apache_beam as beam
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from modules.tokenization.preprocessing import preprocessing_fn


def transform_rows(
    folder: Path, rows: list[dict[str, Any]], spec: dict[str, Any], custom_config: dict[str, Any]
) -> list[dict[str, Any]]:
    """Analyzes and transforms, writes the transform graph to `folder`; returns the rows in any order."""
    metadata = tft.DatasetMetadata.from_feature_spec(spec)
    function = functools.partial(preprocessing_fn, custom_config=custom_config)
    with beam.Pipeline(runner=FnApiRunner()) as pipeline, tft_beam.Context(temp_dir=f"{folder}_temporary"):
        data = pipeline | beam.Create(rows)
        (transformed, _), transform_fn = (data, metadata) | tft_beam.AnalyzeAndTransformDataset(
            function, output_record_batches=True
        )
        _ = transform_fn | tft_beam.WriteTransformFn(str(folder))
        _ = transformed | beam.Map(lambda batch: append_rows(batch[0].to_pylist(), f"{folder}.rows"))
    return [ast.literal_eval(line) for line in Path(f"{folder}.rows").read_text().splitlines()]


def append_rows(rows: list[dict[str, Any]], path: str) -> None:
    """Appends rows to a file; a list would stay in the worker."""
    with open(path, "a", encoding="ascii") as file:
        file.writelines(f"{row!r}\n" for row in rows)
