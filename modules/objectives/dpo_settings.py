"""DPO's settings, without TensorFlow."""

from pydantic import Field, PositiveFloat

from modules.common.settings import Settings


class DpoSettings(Settings):
    """Learn from pairs of answers which one is preferred, without a model of rewards (arXiv:2305.18290)."""

    beta: PositiveFloat = Field(
        0.1,
        description="Penalty for moving away from the starting model: a larger beta keeps the model closer to it.",
    )
