"""Memory that a training run needs, estimated from its settings. Does not import TensorFlow.

```
parameters    N = V h + P h + L (4 h² + 9 h + 2 h f + f) + 2 h         4 bytes each
gradients     of the trained parameters; twice with micro-batches      4 bytes each
optimizer     two moments of AdamW for each trained parameter          4 bytes each
activations   B T (9 h + 2 f + c a T) for each of L + 1 layers         c = 1, with dropout 2.5
logits        B T V, their gradient, and a result between the two
batch         four numbers of 4 bytes for each token of the whole batch
```

V is the size of the vocabulary, P the positions, h the width, f the feed-forward width, L the layers, a the heads, B
the rows that are computed at once, and T their tokens. Activations and logits have 4 bytes, in mixed precision 2.

N is the parameter count of "Language Models are Unsupervised Multitask Learners" (2019): 124,439,808 for GPT-2 small.
The activations are those of Korthikanti et al. 2022, arXiv:2205.05198, equation 1, `s b h (34 + 5 a s / h)` bytes in
16 bits; 16 of the 34 belong to the feed-forward layer, whose width there is 4 h. `fused_attention` keeps only the
probabilities of the tensors with a T values. The gradients of activations are counted as one further layer.

Measured on a CPU, in ten settings (float32 and bfloat16, with and without micro-batches and rematerialization): the
memory of the process grows by 1.1 to 1.6 times the estimate.
"""

import dataclasses
from pathlib import Path
from typing import NamedTuple

from modules.model import huggingface, presets
from modules.model.settings import NAMED_SIZES, LoraSettings, ModelSettings, Sizes
from modules.training.settings import TrainingSettings

# keras-hub's names of GPT-2; the largest size is in table 2 of the paper too.
_PRESET_SIZES: dict[str, Sizes] = {
    "gpt2_base_en": NAMED_SIZES["small"],
    "gpt2_base_en_cnn_dailymail": NAMED_SIZES["small"],
    "gpt2_medium_en": NAMED_SIZES["medium"],
    "gpt2_large_en": NAMED_SIZES["large"],
    "gpt2_extra_large_en": Sizes(48, 25, 1600, 4 * 1600),
}
_FLOAT32 = 4


class Architecture(NamedTuple):
    """All sizes of a GPT-2."""

    sizes: Sizes
    vocabulary_size: int
    positions: int

    @property
    def parameters(self) -> int:
        """Number of the model's parameters; the output head is the token embedding."""
        layers, _, hidden, intermediate = self.sizes
        per_layer = 4 * hidden**2 + 9 * hidden + 2 * hidden * intermediate + intermediate
        return (self.vocabulary_size + self.positions) * hidden + layers * per_layer + 2 * hidden


@dataclasses.dataclass(frozen=True, kw_only=True)
class MemoryEstimate:
    """Memory of a training run by its use, in bytes, on all devices together.

    TensorFlow itself, about 0.5 GB, and copies that checkpoints and the export make for a moment are not counted.
    """

    parameters: int
    gradients: int
    optimizer: int
    teacher: int
    activations: int
    logits: int
    batch: int

    @property
    def total(self) -> int:
        """Sum of all parts."""
        return sum(dataclasses.astuple(self))

    @property
    def host(self) -> int:
        """Bytes that are in the machine's main memory even if a GPU or a TPU trains."""
        return self.parameters + self.batch


def read_architecture(settings: ModelSettings, vocabulary_size: int | None) -> Architecture | None:
    """Returns the sizes of a model; None if they are not known before a preset is downloaded.

    Args:
        settings: Sizes, or a preset, whose name or files give the sizes.
        vocabulary_size: Number of tokens, for a model without a preset.

    Raises:
        InputError: The preset's folder does not hold a GPT-2.
    """
    if settings.preset is not None:
        return _read_preset(settings.preset)
    if settings.sizes is None or vocabulary_size is None:
        return None
    return Architecture(settings.sizes, vocabulary_size, settings.context_length)


def _read_preset(preset: str) -> Architecture | None:
    if preset in _PRESET_SIZES and not Path(preset).is_dir():
        return Architecture(_PRESET_SIZES[preset], *presets.GPT2_SIZES)
    if huggingface.is_folder(preset):
        config = huggingface.check_folder(preset)
        sizes = Sizes(config.n_layer, config.n_head, config.n_embd, config.intermediate_dim)
        return Architecture(sizes, config.vocab_size, config.n_positions)
    if not Path(preset).is_dir():
        return None
    found = presets.read_backbone_sizes(Path(preset))
    sizes = Sizes(*(getattr(found, name) for name in Sizes._fields))
    return Architecture(sizes, found.vocabulary_size, found.max_sequence_length)


def estimate_memory(
    model: Architecture,
    training: TrainingSettings,
    *,
    context_length: int,
    dropout: float = 0.0,
    teacher: Architecture | None = None,
) -> MemoryEstimate:
    """Returns the bytes that training needs; the module's docstring has the formulas. Numbers of any size are exact.

    Args:
        model: The model's sizes.
        training: The settings of the training run.
        context_length: Tokens in a row.
        dropout: The model's dropout rate.
        teacher: The sizes of the teacher of distillation; None without distillation, or if they are not known.
    """
    bytes_per_value = _FLOAT32 if training.precision == "float32" else 2
    trained = count_adapters(model.sizes, training.lora) if training.lora else model.parameters
    # DPO computes both answers of a pair at once.
    rows_per_window = 2 if training.dpo else 1
    tokens_at_once = training.micro_batch_size * rows_per_window * context_length
    tokens = training.batch_size * rows_per_window * context_length
    layer = tokens_at_once * _values_per_token(model.sizes, context_length, dropout) * bytes_per_value
    if training.remat:  # each layer's inputs, and one layer that is computed again, with its gradients
        activations = model.sizes.num_layers * tokens_at_once * model.sizes.hidden_dim * bytes_per_value + 2 * layer
    else:
        activations = (model.sizes.num_layers + 1) * layer
    values = tokens_at_once * model.vocabulary_size
    copies = 0 if training.precision == "float32" else bytes_per_value
    return MemoryEstimate(
        # Quantized matrices are loaded as float32. In mixed precision, each step makes a smaller copy.
        parameters=model.parameters * (_FLOAT32 + copies) + (trained * _FLOAT32 if training.restore_best else 0),
        gradients=trained * _FLOAT32 * (1 if training.micro_batches == 1 else 2),
        optimizer=2 * trained * _FLOAT32,
        # The teacher's logits, and the logarithms and probabilities of the divergence, which are float32.
        teacher=(teacher.parameters * _FLOAT32 if teacher else 0)
        + (values * (bytes_per_value + 3 * _FLOAT32) if training.distillation else 0),
        activations=activations,
        logits=3 * values * bytes_per_value,
        batch=4 * tokens * _FLOAT32,
    )


def count_adapters(sizes: Sizes, lora: LoraSettings) -> int:
    """Returns the number of LoRA's parameters, which are those of `modules.model.lora`.

    Keras factorises along the last axis: A of a query matrix `[hidden, heads, head_dim]` is `[hidden, heads, rank]`,
    and B is `[rank, head_dim]`.
    """
    layers, heads, hidden, intermediate = sizes
    per_head = hidden * heads + hidden // heads
    both = {"feedforward_intermediate": hidden + intermediate, "feedforward_output": hidden + intermediate}
    # The output's matrix is `[heads, head_dim, hidden]`.
    both["attention_output"] = 2 * hidden
    return layers * lora.rank * sum(both.get(target, per_head) for target in lora.targets)


def _values_per_token(sizes: Sizes, context_length: int, dropout: float) -> int:
    """Returns the number of values that a layer keeps for the gradients of a token."""
    _, heads, hidden, intermediate = sizes
    scores = heads * context_length
    return 9 * hidden + 2 * intermediate + (5 * scores // 2 if dropout else scores)
