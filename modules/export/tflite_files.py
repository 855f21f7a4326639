"""Names and precisions of the TFLite files: in artifacts, in a release, and on the command line."""

import os
from typing import Literal, NamedTuple

Precision = Literal["float16", "int8"]
# Path in a Model artifact, next to TFX's folders for other formats (Format-Serving, Format-TFMA).
MODEL_FILE = os.path.join("Format-TFLite", "model.tflite")


class TFLiteFile(NamedTuple):
    """Names of one TFLite file.

    Attributes:
        precision: Precision of the weights.
        key: Name of the file's artifact among a component's inputs and outputs.
        name: File name in a release's folder `tflite/`.
        format: Value of `--format` in the command `generate`.
    """

    precision: Precision
    key: str
    name: str
    format: str


TFLITE_FILES = (
    TFLiteFile("float16", "model_fp16", "model_fp16.tflite", "tflite-fp16"),
    TFLiteFile("int8", "model_int8", "model_int8.tflite", "tflite-int8"),
)
PRECISIONS: tuple[Precision, ...] = tuple(file.precision for file in TFLITE_FILES)


def model_file(model_uri: str) -> str:
    """Returns the path of the TFLite file in a Model artifact that TFLiteConverter wrote."""
    return os.path.join(model_uri, MODEL_FILE)


def scoring_file(tflite_path: str) -> str:
    """Returns the path, next to a TFLite file, of the same model with the signature `score_<N>`."""
    return f"{os.path.splitext(tflite_path)[0]}.scoring.tflite"
