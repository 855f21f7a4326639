"""Time of the Evaluator compared with a bare forward pass over the same tokens: `make bench-evaluation`.

1,000 documents of about 256 tokens go through the Evaluator as the pipeline runs it: examples from a file, the
SavedModel's `evaluate` with its tokenizer, TFMA on Beam, slices and intervals. The bare forward pass computes only the
logits of the same tokens in windows of the context length, in compiled TensorFlow, once with keras-hub and once with
this project's graph. The Evaluator's start-up, which is its time for one document, is not counted.
"""

import itertools
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import rich
import tensorflow as tf
from rich.table import Table
from tfx.types import standard_artifacts

from modules.export import saved_model
from modules.model import gpt2
from modules.model.cached_gpt2 import CachedGPT2
from modules.tokenization.bpe_training import train_merges
from modules.tokenization.vocabulary import Vocabulary
from modules.tokenization.vocabulary_files import write_table
from pipeline.config import load_config
from tests.toys.evaluator import Evaluated, write_examples
from tests.toys.tokenizer_reference import corpus, corpus_word_counts, reference_tokenizer

DOCUMENTS = 1000
TOKENS_PER_DOCUMENT = 256
WINDOWS_PER_BATCH = 16
TURNS = 3


def make_documents(vocabulary: Vocabulary, count: int) -> list[str]:
    """Returns documents of `TOKENS_PER_DOCUMENT` tokens from Python's help texts, repeated as often as necessary."""
    tokenizer = reference_tokenizer(vocabulary)
    endless = itertools.cycle(token for text in corpus() for token in tokenizer.encode(text).ids)
    pieces = (list(itertools.islice(endless, TOKENS_PER_DOCUMENT)) for _ in range(count))
    return [tokenizer.decode(piece) for piece in pieces]


class Subject:
    """Model of the default recipe with random weights, and the documents."""

    def __init__(self, folder: Path):
        config = load_config()
        merges = train_merges(corpus_word_counts(), (config.tokenizer.vocabulary_size or 0) - 257)
        vocabulary = Vocabulary.from_merges(merges)
        documents = make_documents(vocabulary, DOCUMENTS)
        self.backbone = gpt2.build_backbone(
            config.model, vocabulary_size=config.tokenizer.vocabulary_size or 0, dtype="float32"
        )
        self.context_length = config.model.context_length
        table = folder / "vocabulary.tsv"
        write_table(vocabulary, table)
        saved_model.export_saved_model(
            self.backbone, str(table), str(folder / "model" / "Format-Serving"), context_length=self.context_length
        )
        self.model = standard_artifacts.Model()
        self.model.uri = str(folder / "model")
        rows = [{"text": text, "source": f"source {number % 5}"} for number, text in enumerate(documents)]
        self.all = write_examples(folder / "all", rows)
        self.one = write_examples(folder / "one", rows[:1])
        end = vocabulary.end_of_text_id
        ids = [[end, *encoding.ids] for encoding in reference_tokenizer(vocabulary).encode_batch(documents)]
        self.num_tokens = sum(map(len, ids))
        stream = np.concatenate(ids).astype(np.int32)
        whole = len(stream) // self.context_length * self.context_length
        self.windows = tf.data.Dataset.from_tensor_slices(stream[:whole].reshape(-1, self.context_length))

    def evaluate(self, examples: standard_artifacts.Examples) -> Evaluated:
        """Runs the Evaluator with slices by source."""
        with tempfile.TemporaryDirectory() as folder:
            return Evaluated(Path(folder), examples, self.model, slices=("source",))

    def forward(self, logits: Callable[[tf.Tensor], tf.Tensor]) -> None:
        """Computes the logits of all windows; fetches one number per batch, so that no computation is skipped."""
        for batch in self.windows.batch(WINDOWS_PER_BATCH):
            logits(batch).numpy()


def forward_passes(subject: Subject) -> dict[str, Callable[[tf.Tensor], tf.Tensor]]:
    """Returns the compiled forward passes of keras-hub and of this project."""
    keras_model = gpt2.language_model(subject.backbone)
    cached = CachedGPT2(subject.backbone, context_length=subject.context_length)
    positions = tf.range(subject.context_length)

    @tf.function(reduce_retracing=True)
    def by_keras_hub(token_ids: tf.Tensor) -> tf.Tensor:
        inputs = {"token_ids": token_ids, "padding_mask": tf.ones_like(token_ids, tf.bool)}
        return tf.reduce_max(keras_model(inputs, training=False))

    @tf.function(reduce_retracing=True)
    def by_this_project(token_ids: tf.Tensor) -> tf.Tensor:
        hidden, _ = cached.hidden_states(token_ids, positions, cached.empty_caches(tf.shape(token_ids)[0]))
        return tf.reduce_max(cached.logits(hidden))

    return {"bare forward pass, keras-hub": by_keras_hub, "bare forward pass, ours": by_this_project}


def main() -> None:
    """Measures and prints the table and the JSON line."""
    with tempfile.TemporaryDirectory() as temporary:
        subject = Subject(Path(temporary))
        work: dict[str, Callable[[], object]] = {
            "Evaluator": lambda: subject.evaluate(subject.all),
            "Evaluator start-up (one document)": lambda: subject.evaluate(subject.one),
        }
        for name, logits in forward_passes(subject).items():
            work[name] = lambda logits=logits: subject.forward(logits)
            work[name]()  # traces
        seconds: dict[str, list[float]] = {name: [] for name in work}
        for _ in range(TURNS):
            for name, run in work.items():
                start = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - start)
    best = {name: min(turns) for name, turns in seconds.items()}
    whole, start_up, *passes = best.values()
    forward = min(passes)
    rich.print(
        f"{DOCUMENTS:,} documents, {subject.num_tokens:,} tokens; {os.cpu_count()} cores; best of {TURNS} turns each."
    )
    table = Table("measured", "seconds", "× the faster forward pass")
    rows = {**best, "Evaluator without start-up": whole - start_up}
    for name, taken in rows.items():
        table.add_row(name, f"{taken:.2f}", f"{taken / forward:.2f}")
    rich.print(table)
    figures = {
        "evaluation_vs_forward": round((whole - start_up) / forward, 3),
        "evaluation_s": round(whole, 2),
        "start_up_s": round(start_up, 2),
        "forward_s": round(forward, 2),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
