"""Settings of distillation and of direct preference optimization, without TensorFlow."""

from typing import Annotated

from pydantic import Field, NonNegativeFloat, PositiveFloat

from modules.common.settings import Settings
from modules.model import presets


class DistillationSettings(Settings):
    """The settings of distillation: the model also learns from a larger model's predictions (arXiv:1503.02531)."""

    teacher: str = Field(
        description="Name or folder of a keras-hub GPT-2 preset, or folder of a Hugging Face GPT-2, with exactly the "
        "tokens of `tokenizer`. `…/Trainer/model/N/preset` of one of your own runs is such a folder.",
    )
    temperature: PositiveFloat = Field(
        2.0, description="T: the logits of both models are divided by T before they are compared."
    )
    mix: Annotated[float, Field(ge=0, le=1)] = Field(
        0.5, description="The teacher's share of the loss; the rest is the cross-entropy with the text."
    )

    def fingerprint(self) -> str:
        """Returns the hash of the teacher's name and, if it is a folder, of its files.

        Raises:
            InputError: `presets.check_name` refuses the teacher.
        """
        return presets.preset_fingerprint(self.teacher, "training.distillation.teacher")


class DpoSettings(Settings):
    """The settings of DPO: the model learns from pairs of a preferred and a rejected answer (arXiv:2305.18290)."""

    beta: PositiveFloat = Field(
        0.1,
        description="Penalty for moving away from the starting model: a larger beta keeps the model closer to it.",
    )
    imitation: NonNegativeFloat = Field(
        0.0,
        description="Weight of the cross-entropy with the chosen answer, which is added to the loss "
        "(arXiv:2404.19733). Above 0, a model with random weights learns to write as well.",
    )
