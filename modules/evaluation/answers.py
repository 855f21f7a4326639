"""The similarity of a model's answers to those of the eval split, by TFMA's own ROUGE-L and BLEU."""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from modules.cleaning.word_ngrams import word_spans
from modules.common.json_files import finite
from modules.common.settings import Settings
from modules.data.examples import first_turn, sample_examples
from modules.evaluation.gates import Check
from modules.evaluation.memorisation import Generate
from modules.model.sampling import SamplingSettings


class AnswersSettings(Settings):
    """The settings of a task: the model's answers are compared with those of the eval split.

    See `modules/evaluation/README.md`, "Tasks".
    """

    kind: Literal["answers"] = Field(description="Selects this kind of task.")
    rows: int = Field(
        50, ge=1, description="Number of examples of the eval split to answer; all of them if there are fewer."
    )
    max_new_tokens: int = Field(64, ge=1, description="Largest length of an answer in tokens.")
    min_rouge_l: float | None = Field(
        None, ge=0, le=1, description="Models with a lower ROUGE-L (0 to 1) are not released."
    )
    min_bleu: float | None = Field(
        None, ge=0, le=100, description="Models with a lower BLEU (0 to 100) are not released."
    )


class Answer(NamedTuple):
    """A prompt, the answer of the eval split (`reference`), and the model's answer (`text`)."""

    prompt: str
    reference: str
    text: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answers:
    """The result of the task.

    Attributes:
        settings: The settings of the task.
        answers: The answers that were compared.
        rouge_l: Mean F-measure of the longest common subsequence of words, 0 to 1; NaN without answers.
        bleu: Corpus BLEU, 0 to 100; NaN without answers.
    """

    settings: AnswersSettings
    answers: Sequence[Answer]
    rouge_l: float
    bleu: float

    def checks(self) -> list[Check]:
        """Returns a check for each limit in the settings."""
        limits = (
            ("ROUGE-L of answers", self.rouge_l, self.settings.min_rouge_l, "min_rouge_l"),
            ("BLEU of answers", self.bleu, self.settings.min_bleu, "min_bleu"),
        )
        return [
            Check(
                metric=metric,
                measured=measured,
                limit=limit,
                bound="at least",
                limit_from=f"evaluation.tasks, answers: {setting}",
            )
            for metric, measured, limit, setting in limits
            if limit is not None
        ]

    def as_dict(self) -> dict[str, Any]:
        """Returns the figures and the answers for JSON."""
        return {
            "kind": self.settings.kind,
            "rouge_l": finite(self.rouge_l),
            "bleu": finite(self.bleu),
            "settings": self.settings.model_dump(),
            "answers": [answer._asdict() for answer in self.answers],
        }


def measure(settings: AnswersSettings, eval_files: Sequence[str], *, generate: Generate) -> Answers:
    """Lets the model answer the first prompt of some examples, and compares the answers with the eval split's.

    Examples whose first completion is only context (`weight` 0) are left out: the model does not learn to write it.

    Args:
        settings: The settings of the task.
        eval_files: Gzip TFRecord files of the eval split's examples, of kind `instruction`.
        generate: The model's generation of text.
    """
    first_turns = sample_examples(eval_files, settings.rows, first_turn)
    prompts = [prompt for prompt, _ in first_turns]
    references = [reference for _, reference in first_turns]
    texts = generate(prompts, SamplingSettings(max_new_tokens=settings.max_new_tokens)) if prompts else []
    return Answers(
        settings=settings,
        answers=[Answer(*row) for row in zip(prompts, references, texts, strict=True)],
        rouge_l=rouge_l(references, texts),
        bleu=bleu(references, texts),
    )


def rouge_l(references: Sequence[str], texts: Sequence[str]) -> float:
    """Returns the mean sentence-level ROUGE-L F-measure by `tfma.metrics.rouge`, 0 to 1; NaN without texts.

    `"the cat sat on the mat"` and `"the cat sat"` have 3 words in common: precision 1, recall 1/2, F 2/3.

    See Lin, "ROUGE: A Package for Automatic Evaluation of Summaries", 2004. The words are those of
    `modules.cleaning.word_ngrams`, because the tokenizer of the `rouge_score` package knows only the letters a to z:
    every Russian answer would get 0. In English both find the same words.
    """
    from tensorflow_model_analysis.metrics import rouge

    metric = rouge.Rouge("rougeL", tokenizer=_Words())
    inputs = ((np.array([reference]), np.array([text])) for reference, text in zip(references, texts, strict=True))
    return float(_combined(metric, inputs).fmeasure)


def bleu(references: Sequence[str], texts: Sequence[str]) -> float:
    """Returns corpus BLEU by `tfma.metrics.bleu`, 0 to 100; NaN without texts.

    It is sacreBLEU's BLEU, with the tokenization `13a`. See Papineni et al., "BLEU: a Method for Automatic Evaluation
    of Machine Translation", 2002. A text in a script without spaces counts as a single word, so ROUGE-L is more useful
    for such scripts.
    """
    from tensorflow_model_analysis.metrics import bleu as tfma_bleu

    inputs = ((np.array([[reference]]), np.array([text])) for reference, text in zip(references, texts, strict=True))
    # Without texts sacreBLEU returns 0, which would look like a measured value.
    return float(_combined(tfma_bleu.Bleu(), inputs).score) if texts else math.nan


def _combined(metric: Any, inputs: Iterable[tuple[np.ndarray, np.ndarray]]) -> Any:
    """Returns the value of a TFMA metric for labels and predictions, without a Beam pipeline."""
    from tensorflow_model_analysis.metrics.metric_types import StandardMetricInputs

    (computation,) = metric.computations()
    accumulator = computation.combiner.create_accumulator()
    for label, prediction in inputs:
        row = StandardMetricInputs(label=label, prediction=prediction)
        accumulator = computation.combiner.add_input(accumulator, row)
    (value,) = computation.combiner.extract_output(accumulator).values()
    return value


class _Words:
    """A tokenizer for `rouge_score`; its tokens are the words in lower case."""

    def tokenize(self, text: str) -> list[str]:
        return [text[start:end].lower() for start, end in word_spans(text).tolist()]
