"""Measurements of the model before training, and samples of its text before and after, for `training.json`."""

import dataclasses
import tempfile
from collections.abc import Callable, Sequence

import keras_hub
import numpy as np
import tensorflow as tf

from modules.cleaning.secrets import find_secrets
from modules.common import progress
from modules.common.json_files import finite
from modules.data.prompt_templates import PromptTemplate
from modules.export import saved_model
from modules.export.document_scorer import DocumentScorer
from modules.model.sampling import SamplingSettings, prompt_room
from modules.serving.loaded_model import call_generate
from modules.serving.prompt_fitting import FittedPrompt, fit_prompt
from modules.tokenization.byte_pair_tokenizer import BytePairTokenizer
from modules.tokenization.vocabulary import Vocabulary
from modules.tokenization.vocabulary_files import read_table
from modules.training.loss_curve import LossCurve
from modules.training.record import Sample, TrainingRecord

SAMPLES = 4
PROMPT_TOKENS = 16
SAMPLING = SamplingSettings(max_new_tokens=48, temperature=0.7, top_k=40, seed=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Start:
    """The measurements of the model before training.

    `perplexity` is None if it was not measured. `left_out` has the number of tokens that each prompt lost.
    """

    perplexity: float | None
    prompts: list[str]
    continuations: list[str]
    left_out: list[int]


def measure_start(
    backbone: keras_hub.models.GPT2Backbone,
    table_path: str,
    documents: tf.data.Dataset,
    *,
    data_kind: str,
    context_length: int,
    with_perplexity: bool,
    template: PromptTemplate | None = None,
) -> Start:
    """Measures a model before training, with the same code that the SavedModel serves afterwards.

    A copy of the weights in float32 is in memory meanwhile.

    Args:
        backbone: The model.
        table_path: Path of the vocabulary's table.
        documents: Batches of the eval split, see `corpus_perplexity`.
        data_kind: One of `example_tokens.DATA_KINDS`.
        context_length: Tokens in a window.
        with_perplexity: Whether to score all documents, in addition to continuing some of them.
        template: Template of the prompts; None for plain text.
    """
    tokenizer = BytePairTokenizer(table_path)
    fitted = sample_prompts(
        documents,
        read_table(table_path),
        context_length=context_length,
        template=template,
        count_tokens=lambda text: int(tokenizer.tokenize(tf.constant([text.encode()])).row_lengths()[0]),
    )
    prompts = [prompt.text for prompt in fitted]
    with tempfile.TemporaryDirectory() as folder:
        model = saved_model.build_text_model(
            backbone, table_path, folder, data_kind=data_kind, context_length=context_length
        )
        return Start(
            perplexity=corpus_perplexity(model.scorer, documents) if with_perplexity else None,
            prompts=prompts,
            continuations=continue_prompts(model.generate, prompts),
            left_out=[prompt.left_out for prompt in fitted],
        )


def finish_record(
    start: Start, curve: LossCurve, *, parameters: int, warm_start: bool, saved_model_dir: str
) -> TrainingRecord:
    """Returns the record of a training run, with samples that the trained SavedModel writes."""
    generate = tf.saved_model.load(saved_model_dir).signatures["generate"]
    afterwards = continue_prompts(generate, start.prompts)
    return TrainingRecord(
        parameters=parameters,
        loss=curve.points,
        validation=curve.validation,
        loss_unit=curve.loss_unit,
        warm_start=warm_start,
        perplexity_before=start.perplexity,
        samples=[
            Sample(prompt=prompt, before=before, after=after, left_out=left_out)
            for prompt, before, after, left_out in zip(
                start.prompts, start.continuations, afterwards, start.left_out, strict=True
            )
        ],
    )


def corpus_perplexity(scorer: DocumentScorer, documents: tf.data.Dataset) -> float | None:
    """Returns exp(nats per token) over all tokens that count; None if nothing counts, or if it is not finite.

    It is the Evaluator's `perplexity` in windows that do not overlap.

    Args:
        scorer: The model's scorer; its windows are those of the SavedModel's `evaluate`.
        documents: Batches of ragged int64 `[documents, tokens]`: `token_ids`, and `loss_mask` if not all tokens count.
    """

    @tf.function(autograph=False, input_signature=[documents.element_spec])
    def score(columns: dict[str, tf.RaggedTensor]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        scores = scorer.score(columns["token_ids"], columns.get("loss_mask"))
        return tf.reduce_sum(scores.nll_sum), tf.reduce_sum(scores.num_tokens), tf.size(scores.nll_sum)

    nll_sum, num_tokens, scored = 0.0, 0, 0
    for columns in documents:
        nll, tokens, count = (figure.numpy() for figure in score(columns))
        nll_sum, num_tokens, scored = nll_sum + float(nll), num_tokens + int(tokens), scored + int(count)
        progress.report("Trainer", done=scored, total=None, unit="documents scored before training")
    with np.errstate(over="ignore"):
        return finite(float(np.exp(nll_sum / num_tokens))) if num_tokens else None


def continue_prompts(generate: Callable[..., dict[str, tf.Tensor]], prompts: Sequence[str]) -> list[str]:
    """Continues prompts with settings that all training runs share, so that their samples can be compared.

    Args:
        generate: The signature `generate` of a `TextModel` or of a SavedModel.
        prompts: Texts to continue.
    """
    texts = call_generate(
        generate,
        [prompt.encode() for prompt in prompts],
        SAMPLING,
    )
    return [text.decode("utf-8", errors="replace") for text in texts]


def sample_prompts(
    documents: tf.data.Dataset,
    vocabulary: Vocabulary,
    *,
    context_length: int,
    template: PromptTemplate | None = None,
    count_tokens: Callable[[str], int] = len,
) -> list[FittedPrompt]:
    """Takes prompts from the first documents, see `prompt_tokens`, each with the text that the model gets.

    Prompts that look like secrets are left out, because a model card shows the prompts.

    Args:
        documents: Batches as for `corpus_perplexity`. The same documents in the same order give the same prompts.
        vocabulary: Vocabulary of the documents' tokens.
        context_length: Context length of the model; longer prompts are cut, as in generation.
        template: Template of the prompts, whose marks stay where they fit, see `fit_prompt`; None for plain text.
        count_tokens: Returns the number of tokens of a text; only used with a template.
    """
    token_bytes = vocabulary.token_bytes()
    room = prompt_room(context_length, SAMPLING.max_new_tokens)

    def decoded(token_ids: list[int]) -> str:
        # An incomplete character at either end is left out.
        return b"".join(token_bytes[token_id] for token_id in token_ids).decode("utf-8", errors="ignore")

    def fitted(token_ids: list[int]) -> FittedPrompt:
        if template is not None:
            return fit_prompt(decoded(token_ids), template=template, room=room, count_tokens=count_tokens)
        kept = token_ids[-(room - 1) :]  # without the end-of-text before the prompt
        return FittedPrompt(decoded(kept), len(token_ids), len(kept))

    prompts: list[FittedPrompt] = []
    for columns in documents.unbatch().as_numpy_iterator():
        loss_mask = columns.get("loss_mask")
        token_ids = prompt_tokens(columns["token_ids"].tolist(), None if loss_mask is None else loss_mask.tolist())
        prompt = fitted(token_ids)
        if next(find_secrets(prompt.text), None) is None:
            prompts.append(prompt)
        if len(prompts) == SAMPLES:
            break
    return prompts


def prompt_tokens(token_ids: list[int], loss_mask: list[int] | None) -> list[int]:
    """Returns the beginning of a document that a model will continue.

    ```
    token_ids = [5, 6, 7, 8]                               [5, 6]  half of the tokens, at most `PROMPT_TOKENS`
    token_ids = [5, 6, 7, 8], loss_mask = [0, 1, 1, 0]     [5]     the tokens before the first completion
    ```

    Args:
        token_ids: Token ids of a document.
        loss_mask: 1 for tokens of completions, 0 for tokens of prompts; None for plain text.
    """
    if loss_mask is None:
        return token_ids[: min(PROMPT_TOKENS, (len(token_ids) + 1) // 2)]
    return token_ids[: loss_mask.index(1)] if 1 in loss_mask else token_ids
