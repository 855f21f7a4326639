"""TextTransform: TFX's Transform, with token counts as properties of its examples."""

from tfx.components import Transform
from tfx.dsl.components.base import executor_spec

from components.text_transform import executor


class TextTransform(Transform):
    """Stock Transform with an executor that also counts tokens."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)
