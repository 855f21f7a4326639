"""Distillation: a model learns from the text and also from the predictions of a larger model.

"Distilling the Knowledge in a Neural Network" (2015, arXiv:1503.02531), section 2.
"""

import dataclasses

import keras
import tensorflow as tf

from modules.common.errors import InputError
from modules.model import gpt2
from modules.model.fused_decoder import fuse
from modules.objectives.losses import token_divergence
from modules.objectives.objective import Batch, LanguageModelling, Model, Sums, model_inputs
from modules.objectives.settings import DistillationSettings
from modules.tokenization import tokenizer_files
from modules.tokenization.vocabulary import Vocabulary


@dataclasses.dataclass(frozen=True, kw_only=True)
class Distillation:
    """An objective that mixes the teacher's predictions with the loss of the text.

    ```
    loss = mix T² KL(teacher || student) + (1 - mix) loss of the text
    ```

    In the divergence, the logits of both models are divided by the temperature T. This shrinks its gradients by about
    T²; the factor T² undoes that, so that `mix` keeps its meaning when T changes. The metric `nll` is computed from the
    text at temperature 1, as without distillation. The metric `kl` is the divergence at T. Both are in nats per target.

    Attributes:
        text: The loss of the text.
        teacher: See `load_teacher`. The teacher is not a layer of the student, so it is neither trained nor saved.
        temperature: T, above 0.
        mix: The teacher's share, from 0 to 1.
    """

    text: LanguageModelling
    teacher: keras.Model
    temperature: float
    mix: float
    metric_names: tuple[str, ...] = ("nll", "kl")

    def __call__(self, model: Model, batch: Batch) -> Sums:
        """Returns the sums over the targets.

        Args:
            model: The student, see `gpt2.language_model`.
            batch: See `packing.to_batch`.
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
        settings: Settings that name the teacher.
        vocabulary: The student's vocabulary. If the teacher's folder holds a tokenizer, the tokenizer must have exactly
            these tokens. Without a tokenizer, the teacher must have the same number of tokens.
        context_length: Context length of the student, in tokens; the teacher must have at least as many positions.
        isolate_documents: Whether the documents of a window do not see each other, as for the student.
        dtype: Keras precision policy of the teacher's computation.

    Returns:
        A language model, see `gpt2.language_model`.

    Raises:
        InputError: If the teacher cannot be loaded, or its tokens or positions do not fit.
    """
    preset = gpt2.ModelSettings.model_validate({"preset": settings.teacher, "context_length": context_length})
    backbone = gpt2.build_backbone(preset, vocabulary_size=vocabulary.size, dtype=dtype)
    known = tokenizer_files.preset_vocabulary(settings.teacher)
    if known is not None and known != vocabulary:
        raise InputError(
            "`training.distillation.teacher` must have the student's tokens, each with the same id. Received: "
            f"{settings.teacher}, whose {known.size:,} tokens are different. Train the student with the teacher's "
            "tokenizer."
        )
    backbone.trainable = False
    return fuse(gpt2.language_model(backbone, isolate_documents=isolate_documents))
