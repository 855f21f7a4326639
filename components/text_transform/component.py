"""TextTransform: TFX's Transform whose examples carry their token counts."""

from tfx.components import Transform
from tfx.dsl.components.base import executor_spec

from components.text_transform import executor


class TextTransform(Transform):
    """The stock Transform; only its executor also counts tokens."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)
