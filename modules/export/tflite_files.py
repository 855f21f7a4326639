"""What the TFLite files of a release are called, in every place."""

from typing import Literal, NamedTuple

Precision = Literal["float16", "int8"]


class TFLiteFile(NamedTuple):
    """One of the files.

    Attributes:
        precision: Of its weights.
        key: Of its artifact among a component's inputs and outputs.
        name: In a release's folder `tflite/`.
        format: In `generate --format`.
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
