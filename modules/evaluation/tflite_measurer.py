"""The measurements of TFLite files, compared with the SavedModel that they were made from, on the same documents."""

import itertools
import math
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from modules.common.files import file_facts, local_copy
from modules.data.examples import WEIGHT, read_records, split_files
from modules.evaluation.tflite_results import FileFigures, GreedyAgreement
from modules.evaluation.tflite_scoring import Score, negative_log_likelihood, score_document
from modules.export.tflite_files import scoring_file
from modules.model.sampling import SamplingSettings, prompt_room
from modules.serving.litert_model import LiteRTModel, continue_tokens
from modules.serving.loaded_model import call_generate
from modules.tokenization import example_tokens
from modules.tokenization.byte_pair_tokenizer import BytePairTokenizer
from modules.tokenization.vocabulary_files import TABLE_NAME, read_table

NEW_TOKENS = 64
GREEDY = SamplingSettings(max_new_tokens=NEW_TOKENS)
_PROMPTS = 16
# A prompt from plain text is the beginning of a document, about a line.
_PROMPT_CHARACTERS = 64
# Documents that are in memory at once; a document may have 16 MiB.
_BATCH = 16
# The speed of decoding is the best of `_TIMES` runs of `_DECODES` tokens.
_DECODES = 64
_TIMES = 3
_COMPARED_TOKENS = 64
# Mean over tokens, in nats; far below any limit of a file. Measured: 0. On another processor an int8 activation may
# sometimes be rounded differently.
_LARGEST_DIFFERENCE = 1e-3


class ScoringFileError(RuntimeError):
    """The scored file does not predict the same as the released file."""


@dataclass(frozen=True, kw_only=True)
class ScoredDocument:
    """One document of the eval split.

    Attributes:
        serialized: The serialized tf.Example, the input of the signature `evaluate`.
        prompt: The text whose continuations are compared, in UTF-8; for instructions the first prompt.
        token_ids, loss_mask: As `modules.tokenization.example_tokens` defines them.
    """

    serialized: bytes
    prompt: bytes
    token_ids: list[int]
    loss_mask: list[int]


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The SavedModel's results on the documents.

    Attributes:
        documents: The scored documents.
        whole_split: Whether these are all documents of the split.
        nll_sum: Negative log-likelihood of all documents, in nats.
        prompts: Token ids of the prompts, each with a leading end-of-text.
        continuations: The greedy continuation of each prompt, in bytes.
        cut_prompts: Number of prompts of which both models see only the end.
        decode_tokens_per_second: Speed of continuing a single prompt; NaN without prompts.
    """

    documents: list[ScoredDocument]
    whole_split: bool
    nll_sum: float
    prompts: list[list[int]]
    continuations: list[bytes]
    cut_prompts: int
    decode_tokens_per_second: float


class TFLiteMeasurer:
    """The measurements of one SavedModel, with which any number of TFLite files are compared."""

    def __init__(
        self,
        saved_model_dir: str,
        split_dir: str,
        *,
        data_kind: str,
        sequence_length: int,
        max_tokens: int | None,
        on_documents: Callable[[int, int], None] = lambda scored, documents: None,
    ) -> None:
        """Scores the documents with the SavedModel.

        Args:
            saved_model_dir: A model that `modules.export.text_model` exported for this kind of data.
            split_dir: Folder of gzipped TFRecord files of tf.Examples.
            data_kind: One of `example_tokens.DATA_KINDS`.
            sequence_length: Tokens in a window, the same as in the SavedModel's `evaluate`.
            max_tokens: Documents are taken until they contain this many tokens that count; None: all documents.
            on_documents: Is called after each document with the number of documents scored so far, over all models,
                and the number of documents.
        """
        table = os.path.join(saved_model_dir, "assets", TABLE_NAME)
        vocabulary = read_table(table)
        self._token_bytes = vocabulary.token_bytes()
        self._end_of_text_id = vocabulary.end_of_text_id
        self._sequence_length = sequence_length
        tokenizer = BytePairTokenizer(table)
        documents, whole_split = read_documents(split_dir, tokenizer, data_kind=data_kind, max_tokens=max_tokens)
        scored = itertools.count(1)
        self._count_document = lambda: on_documents(next(scored), len(documents))
        model = tf.saved_model.load(saved_model_dir)  # the signatures are valid only while it exists
        texts = [document.prompt for document in documents if document.prompt][:_PROMPTS]
        prompts = tokenizer.tokenize(tf.constant(texts, tf.string)).to_list()
        room = prompt_room(int(model.model.position_embedding.shape[0]), NEW_TOKENS)
        self.reference = Reference(
            documents=documents,
            whole_split=whole_split,
            nll_sum=self._float_nll(model.signatures["evaluate"], documents),
            prompts=[[self._end_of_text_id, *ids] for ids in prompts],
            continuations=_greedy(model.signatures["generate"], texts),
            cut_prompts=sum(len(ids) > room for ids in prompts),
            decode_tokens_per_second=_generation_speed(model.signatures["generate"], texts[:1], tokenizer),
        )

    def measure(self, tflite_path: str) -> FileFigures:
        """Measures a file that `modules.export.tflite_conversion` wrote, by the scoring file next to it.

        Raises:
            ScoringFileError: The two files predict different logits.
        """
        with tempfile.TemporaryDirectory() as folder:
            shipped, scoring = (local_copy(path, folder) for path in (tflite_path, scoring_file(tflite_path)))
            return self._measure(tflite_path, shipped, scoring)

    def _measure(self, tflite_path: str, shipped_path: str, scoring_path: str) -> FileFigures:
        documents = self.reference.documents
        shipped = LiteRTModel(shipped_path)
        agreement = self._agreement(shipped)
        decode_speed = _decode_speed(shipped)
        longest = max((document.token_ids for document in documents), key=len, default=[])
        compared = [self._end_of_text_id, *longest][: min(_COMPARED_TOKENS, shipped.context_length)]
        decoded = np.stack([shipped.decode(token_id, at) for at, token_id in enumerate(compared)])
        # The last token again, after a prefill with all tokens before it.
        prefilled = shipped.decode(compared[-1], shipped.prefill(compared[:-1]))
        del shipped  # before the scoring file takes as much memory
        scoring = LiteRTModel(scoring_path)
        scored = np.concatenate(list(scoring.logits(compared)))
        targets = np.array([*compared[1:], compared[0]])
        _check_same(tflite_path, decoded, scored, targets, "decodes")
        _check_same(tflite_path, prefilled[np.newaxis], scored[-1:], targets[-1:], "predicts after a prefill")
        score = self._score(scoring)
        return FileFigures(
            nll_sum=score.nll_sum,
            float_nll_sum=self.reference.nll_sum,
            documents=len(documents),
            tokens=score.num_tokens,
            whole_split=self.reference.whole_split,
            greedy_agreement=agreement,
            decode_tokens_per_second=decode_speed,
            float_decode_tokens_per_second=self.reference.decode_tokens_per_second,
            **file_facts(tflite_path),
        )

    def _float_nll(self, evaluate: Callable[..., dict[str, tf.Tensor]], documents: Sequence[ScoredDocument]) -> float:
        nll_sum = 0.0
        for start in range(0, len(documents), _BATCH):
            batch = [document.serialized for document in documents[start : start + _BATCH]]
            nll_sum += float(tf.reduce_sum(evaluate(examples=tf.constant(batch))["nll_sum"]))
            for _ in batch:
                self._count_document()
        return nll_sum

    def _score(self, model: LiteRTModel) -> Score:
        nll_sum, num_tokens = 0.0, 0
        for document in self.reference.documents:
            score = score_document(
                model,
                document.token_ids,
                document.loss_mask,
                end_of_text_id=self._end_of_text_id,
                sequence_length=self._sequence_length,
            )
            nll_sum, num_tokens = nll_sum + score.nll_sum, num_tokens + score.num_tokens
            self._count_document()
        return Score(nll_sum, num_tokens)

    def _agreement(self, model: LiteRTModel) -> GreedyAgreement | None:
        agreeing, whole = [], 0
        for prompt_ids, expected in zip(self.reference.prompts, self.reference.continuations, strict=True):
            new_ids = continue_tokens(model, prompt_ids, GREEDY, end_of_text_id=self._end_of_text_id)
            pieces = [self._token_bytes[token_id] for token_id in new_ids]
            same = b"".join(pieces) == expected
            whole += same
            agreeing.append(NEW_TOKENS if same else leading_tokens(pieces, expected))
        if not agreeing:
            return None
        return GreedyAgreement(
            prompts=len(agreeing),
            tokens=NEW_TOKENS,
            mean=sum(agreeing) / len(agreeing),
            least=min(agreeing),
            whole=whole,
        )


def read_documents(
    split_dir: str, tokenizer: BytePairTokenizer, *, data_kind: str, max_tokens: int | None
) -> tuple[list[ScoredDocument], bool]:
    """Reads whole documents from the start of a split, whose order does not depend on their text.

    Args:
        split_dir: Folder of gzipped TFRecord files of tf.Examples.
        tokenizer: The model's tokenizer.
        data_kind: One of `example_tokens.DATA_KINDS`.
        max_tokens: Reading stops after the document that reaches this many tokens that count; None: all documents.

    Returns:
        The documents, and whether these are all documents of the split.
    """

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None], tf.string)])
    def columns(serialized: tf.Tensor) -> tuple[tf.Tensor | tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        return _columns(serialized, tokenizer, data_kind)

    records = read_records(split_files(split_dir))
    batches = (
        _documents(batch, *columns(tf.constant(batch)))
        for batch in iter(lambda: list(itertools.islice(records, _BATCH)), [])
    )
    documents: list[ScoredDocument] = []
    tokens = 0
    for document in itertools.chain.from_iterable(batches):
        if max_tokens is not None and tokens >= max_tokens:
            return documents, False
        documents.append(document)
        tokens += sum(document.loss_mask) + 1
    return documents, True


def _columns(
    serialized: tf.Tensor, tokenizer: BytePairTokenizer, data_kind: str
) -> tuple[tf.Tensor | tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
    """Returns texts, string `[documents]`, or prompts by turn, `[documents, turns]`; the token ids; the loss masks.

    For a graph: the tokenizer is a loop of some hundred small operations, which cost ten times as much one by one.
    """
    features = tf.io.parse_example(serialized, example_tokens.feature_spec(data_kind))
    if data_kind == "text":
        token_ids = tokenizer.tokenize(features["text"])
        return features["text"], token_ids, tf.ones_like(token_ids)
    prompt_turns, completions = example_tokens.conversations(features, data_kind)
    token_ids, loss_mask = example_tokens.conversation_tokens(
        prompt_turns,
        completions,
        lambda texts: example_tokens.tokenize_and_end(tokenizer, texts),
        example_tokens.turn_weights(features[WEIGHT], completions),
    )
    return prompt_turns, token_ids, loss_mask


def _documents(
    serialized: Sequence[bytes],
    texts: tf.Tensor | tf.RaggedTensor,
    token_ids: tf.RaggedTensor,
    loss_mask: tf.RaggedTensor,
) -> list[ScoredDocument]:
    """Puts together what `_columns` gave for some examples."""
    if isinstance(texts, tf.RaggedTensor):
        prompts = [turns[0] for turns in texts.to_list()]
    else:
        prompts = [_beginning(text) for text in texts.numpy()]
    columns = zip(serialized, prompts, token_ids.to_list(), loss_mask.to_list(), strict=True)
    return [
        ScoredDocument(serialized=example, prompt=prompt, token_ids=ids, loss_mask=mask)
        for example, prompt, ids, mask in columns
    ]


def _beginning(text: bytes) -> bytes:
    return text.decode(errors="replace")[:_PROMPT_CHARACTERS].rstrip().encode()


def _greedy(generate: Callable[..., dict[str, tf.Tensor]], prompts: Sequence[bytes]) -> list[bytes]:
    return call_generate(generate, prompts, GREEDY)


def leading_tokens(pieces: Sequence[bytes], expected: bytes) -> int:
    """Returns the number of leading tokens that spell the beginning of a text. Tokens are given by their bytes.

    `[b"the", b" c", b"ar"]` and `b"the cat"` give 2.
    """
    spelt = itertools.accumulate(pieces)
    return sum(1 for _ in itertools.takewhile(expected.startswith, spelt))


def _decode_speed(model: LiteRTModel) -> float:
    """Returns the speed of decoding token by token, in tokens per second: the best of several runs."""
    count = min(_DECODES, model.context_length)
    seconds = []
    for _ in range(_TIMES):
        start = time.perf_counter()
        for position in range(count):
            model.decode(0, position)
        seconds.append(time.perf_counter() - start)
    return count / min(seconds)


def _generation_speed(
    generate: Callable[..., dict[str, tf.Tensor]], prompts: Sequence[bytes], tokenizer: BytePairTokenizer
) -> float:
    """Returns a SavedModel's speed on one prompt, its prefill included, in tokens per second; NaN without a prompt."""
    if not prompts:
        return math.nan
    start = time.perf_counter()
    continuation = _greedy(generate, prompts)
    seconds = time.perf_counter() - start
    return (int(tokenizer.tokenize(tf.constant(continuation)).row_lengths()[0]) + 1) / seconds


def _check_same(tflite_path: str, shipped: np.ndarray, scored: np.ndarray, targets: np.ndarray, action: str) -> None:
    # NaN in both counts as equal; the perplexity will show it.
    shipped_nll, scored_nll = (np.nan_to_num(negative_log_likelihood(logits, targets)) for logits in (shipped, scored))
    difference = np.abs(shipped_nll - scored_nll).mean()
    if difference > _LARGEST_DIFFERENCE:
        raise ScoringFileError(
            f"{scoring_file(tflite_path)} must predict what {tflite_path} {action}, within "
            f"{_LARGEST_DIFFERENCE} nats per token. Received: {difference:.3g}. Convert the model again."
        )
