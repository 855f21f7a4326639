"""What training leaves behind for the gates and the report: `training.json`, beside TensorBoard's logs."""

import dataclasses
import tempfile
from collections.abc import Callable, Sequence

import keras_hub
import numpy as np
import tensorflow as tf

from modules.cleaning.secrets import find_secrets
from modules.common import progress
from modules.common.json_files import finite
from modules.export import saved_model
from modules.export.document_scorer import DocumentScorer
from modules.model.sampling import SamplingSettings, prompt_room
from modules.serving.loaded_model import call_generate
from modules.tokenization.vocabulary import Vocabulary
from modules.tokenization.vocabulary_files import read_table
from modules.training.loss_curve import LossCurve
from modules.training.record import Sample, TrainingRecord

SAMPLES = 4
PROMPT_TOKENS = 16
SAMPLING = SamplingSettings(max_new_tokens=48, temperature=0.7, top_k=40, seed=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Start:
    """What the weights can do that the training starts from; `perplexity` is None where it was not asked for."""

    perplexity: float | None
    prompts: list[str]
    continuations: list[str]


def measure_start(
    backbone: keras_hub.models.GPT2Backbone,
    table_path: str,
    documents: tf.data.Dataset,
    *,
    data_kind: str,
    context_length: int,
    with_perplexity: bool,
) -> Start:
    """Measures a model before it is trained, by the very code that the SavedModel serves afterwards.

    Holds a copy of the weights in float32 while it works.

    Args:
        backbone: The model.
        table_path: The vocabulary's table.
        documents: Batches of the eval split, see `corpus_perplexity`.
        data_kind: One of `example_tokens.DATA_KINDS`.
        context_length: Tokens in a window.
        with_perplexity: Whether to score the documents, and not only to continue some of them.
    """
    prompts = sample_prompts(documents, read_table(table_path), context_length=context_length)
    with tempfile.TemporaryDirectory() as folder:
        model = saved_model.build_text_model(
            backbone, table_path, folder, data_kind=data_kind, context_length=context_length
        )
        return Start(
            perplexity=corpus_perplexity(model.scorer, documents) if with_perplexity else None,
            prompts=prompts,
            continuations=continue_prompts(model.generate, prompts),
        )


def finish_record(
    start: Start, curve: LossCurve, *, parameters: int, warm_start: bool, saved_model_dir: str
) -> TrainingRecord:
    """Puts together what was seen, with what the trained model writes, read from its SavedModel."""
    generate = tf.saved_model.load(saved_model_dir).signatures["generate"]
    continuations = zip(start.prompts, start.continuations, continue_prompts(generate, start.prompts), strict=True)
    return TrainingRecord(
        parameters=parameters,
        loss=curve.points,
        validation=curve.validation,
        loss_unit=curve.loss_unit,
        warm_start=warm_start,
        perplexity_before=start.perplexity,
        samples=[Sample(prompt=prompt, before=before, after=after) for prompt, before, after in continuations],
    )


def corpus_perplexity(scorer: DocumentScorer, documents: tf.data.Dataset) -> float | None:
    """exp(nats per token) over all tokens that count, as the Evaluator's `perplexity` in windows that do not overlap.

    Args:
        scorer: Of the model; its windows are those of the SavedModel's `evaluate`.
        documents: Batches of ragged int64 `[documents, tokens]`: `token_ids`, and `loss_mask` where not all count.

    Returns:
        None where nothing counts, or the perplexity is no finite number.
    """

    @tf.function(autograph=False, input_signature=[documents.element_spec])
    def score(columns: dict[str, tf.RaggedTensor]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        scores = scorer.score(columns["token_ids"], columns.get("loss_mask"))
        return tf.reduce_sum(scores.nll_sum), tf.reduce_sum(scores.num_tokens), tf.size(scores.nll_sum)

    nll_sum, num_tokens, scored = 0.0, 0, 0
    for columns in documents:
        nll, tokens, count = (figure.numpy() for figure in score(columns))
        nll_sum, num_tokens, scored = nll_sum + float(nll), num_tokens + int(tokens), scored + int(count)
        progress.report("Trainer", done=scored, total=None, unit="documents scored before the training")
    with np.errstate(over="ignore"):
        return finite(float(np.exp(nll_sum / num_tokens))) if num_tokens else None


def continue_prompts(generate: Callable[..., dict[str, tf.Tensor]], prompts: Sequence[str]) -> list[str]:
    """Continues prompts with the settings that every training shares, so that its samples can be compared.

    Args:
        generate: The signature of that name, of a `TextModel` or of a SavedModel.
        prompts: Texts.
    """
    texts = call_generate(
        generate,
        [prompt.encode() for prompt in prompts],
        SAMPLING,
    )
    return [text.decode("utf-8", errors="replace") for text in texts]


def sample_prompts(documents: tf.data.Dataset, vocabulary: Vocabulary, *, context_length: int) -> list[str]:
    """Takes prompts from the first documents, see `prompt_tokens`; a model card shows them, so none holds a secret.

    Args:
        documents: Batches as for `corpus_perplexity`; the same ones, in the same order, give the same prompts.
        vocabulary: Of their tokens.
        context_length: Of the model; longer prompts lose their beginning, as in generation.
    """
    token_bytes = vocabulary.token_bytes()
    room = prompt_room(context_length, SAMPLING.max_new_tokens) - 1  # an end-of-text comes first
    prompts = []
    for columns in documents.unbatch().as_numpy_iterator():
        loss_mask = columns.get("loss_mask")
        token_ids = prompt_tokens(columns["token_ids"].tolist(), None if loss_mask is None else loss_mask.tolist())
        text = b"".join(token_bytes[token_id] for token_id in token_ids[-room:])
        # A character that is cut in the middle is left out.
        prompt = text.decode("utf-8", errors="ignore")
        if next(find_secrets(prompt), None) is None:
            prompts.append(prompt)
        if len(prompts) == SAMPLES:
            break
    return prompts


def prompt_tokens(token_ids: list[int], loss_mask: list[int] | None) -> list[int]:
    """The beginning of a document, from which a model is to go on.

    ```
    token_ids = [5, 6, 7, 8]                               [5, 6]  half of it, and at most `PROMPT_TOKENS`
    token_ids = [5, 6, 7, 8], loss_mask = [0, 1, 1, 0]     [5]     what comes before the first completion
    ```

    Args:
        token_ids: Of a document.
        loss_mask: 1 for tokens of completions, 0 for those of prompts; None for plain text.
    """
    if loss_mask is None:
        return token_ids[: min(PROMPT_TOKENS, (len(token_ids) + 1) // 2)]
    return token_ids[: loss_mask.index(1)] if 1 in loss_mask else token_ids
