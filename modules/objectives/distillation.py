"""Distillation: a model learns from a larger one's predictions, beside the text.

"Distilling the Knowledge in a Neural Network" (2015, arXiv:1503.02531), section 2.
"""

import dataclasses

import keras
import tensorflow as tf

from modules.common.errors import InputError
from modules.model import gpt2
from modules.model.fused_decoder import fuse
from modules.objectives.objective import Batch, LanguageModelling, Model, Sums, model_inputs
from modules.objectives.settings import DistillationSettings
from modules.objectives.token_divergence import token_divergence
from modules.tokenization import tokenizer_files
from modules.tokenization.vocabulary import Vocabulary


@dataclasses.dataclass(frozen=True, kw_only=True)
class Distillation:
    """A mix of the teacher's predictions and the text's own tokens.

    ```
    loss = mix T² KL(teacher || student) + (1 - mix) loss of the text
    ```

    T divides the logits of both in the divergence. Its gradients then shrink by about T², which the factor undoes, so
    that `mix` keeps its meaning when T changes. The metric `nll` is that of the text at temperature 1, as in every
    training, and `kl` the divergence at T, both in nats a target.

    Attributes:
        text: The loss of the text.
        teacher: See `load_teacher`. It is none of the model's layers, so it is neither trained nor saved.
        temperature: T, above 0.
        mix: The teacher's share, from 0 to 1.
    """

    text: LanguageModelling
    teacher: keras.Model
    temperature: float
    mix: float
    metric_names: tuple[str, ...] = ("nll", "kl")

    def __call__(self, model: Model, batch: Batch) -> Sums:
        """Sums over the targets.

        Args:
            model: The student, see `gpt2.language_model`.
            batch: See `batches.to_batch`.
        """
        inputs = model_inputs(batch)
        logits = model(inputs)
        text = self.text.sums(logits, batch)
        teacher_logits = self.teacher(inputs, training=False)
        divergence = token_divergence(logits, teacher_logits, temperature=self.temperature)
        kl = tf.reduce_sum(divergence * batch["weights"] if "weights" in batch else divergence)
        return Sums(
            loss=self.mix * self.temperature**2 * kl + (1 - self.mix) * text.loss,
            weight=text.weight,
            metrics={**text.metrics, "kl": kl},
        )


def load_teacher(
    settings: DistillationSettings,
    vocabulary: Vocabulary,
    *,
    context_length: int,
    isolate_documents: bool,
    dtype: str,
) -> keras.Model:
    """Loads the larger model, frozen.

    Args:
        settings: Name it.
        vocabulary: The student's. Where the teacher's folder holds a tokenizer, it must have the very same tokens, and
            else as many.
        context_length: Of the student; the teacher must have as many positions.
        isolate_documents: Whether documents of a window see each other, as for the student.
        dtype: Keras precision policy of its computation.

    Returns:
        A language model, see `gpt2.language_model`.

    Raises:
        InputError: It cannot be loaded, or its tokens or positions do not fit.
    """
    preset = gpt2.ModelSettings.model_validate({"preset": settings.teacher, "context_length": context_length})
    backbone = gpt2.build_backbone(preset, vocabulary_size=vocabulary.size, dtype=dtype)
    known = tokenizer_files.preset_vocabulary(settings.teacher)
    if known is not None and known != vocabulary:
        raise InputError(
            "`training.distillation.teacher` must have the student's tokens, each under the same id. Received: "
            f"{settings.teacher}, whose {known.size:,} tokens are others. Train the student with the teacher's "
            "tokenizer."
        )
    backbone.trainable = False
    return fuse(gpt2.language_model(backbone, isolate_documents=isolate_documents))
