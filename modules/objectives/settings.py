"""Distillation's settings, without TensorFlow."""

from typing import Annotated

from pydantic import Field, PositiveFloat

from modules.common.settings import Settings
from modules.tokenization import tokenizer_files


class DistillationSettings(Settings):
    """Learn from what a larger model thinks likely, beside what stands in the text (arXiv:1503.02531)."""

    teacher: str = Field(
        description="Name or folder of a keras-hub GPT-2 preset, or folder of a Hugging Face GPT-2, with exactly the "
        "tokens of `tokenizer`. `…/Trainer/model/N/preset` of one of your own runs is such a folder.",
    )
    temperature: PositiveFloat = Field(
        2.0, description="T: both models' logits are divided by it where they are compared."
    )
    mix: Annotated[float, Field(ge=0, le=1)] = Field(
        0.5, description="The teacher's share of the loss; the rest is the cross-entropy with the text."
    )

    def fingerprint(self) -> str:
        """Hash of the teacher's files, where it is a folder.

        Raises:
            InputError: If the teacher is none that `preset_files.check_name` takes.
        """
        return tokenizer_files.preset_fingerprint(self.teacher, "training.distillation.teacher")
