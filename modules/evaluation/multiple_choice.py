"""Multiple choice in the form of HellaSwag: the model chooses the likeliest of several endings.

See Zellers et al., "HellaSwag: Can a Machine Really Finish Your Sentence?" (arXiv:1905.07830). The score of a choice is
its negative log-likelihood given the prompt. This is a disadvantage for long choices, so it is also divided by the
number of bytes of the choice.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from modules.common.errors import InputError
from modules.common.settings import Settings
from modules.data.data_files import file_kind
from modules.data.encoding_errors import EncodingError
from modules.data.prompt_templates import PromptTemplate
from modules.data.row_files import read_rows
from modules.data.row_values import text_of
from modules.evaluation.confidence_intervals import wilson_interval
from modules.evaluation.gates import Check

# A function from prompts and completions to float64 nats `[completions]`.
NegativeLogLikelihood = Callable[[Sequence[str], Sequence[str]], np.ndarray]


class MultipleChoiceSettings(Settings):
    """The settings of a task: a file of multiple-choice questions; see `modules/evaluation/README.md`, "Tasks"."""

    kind: Literal["multiple_choice"] = Field(description="Selects this kind of task.")
    name: str = Field(pattern="^[a-z][a-z0-9_]{0,40}$", description="Names the task in reports and ML Metadata.")
    file: Path = Field(description="JSON lines with `ctx`, `endings`, `label`, or with `prompt`, `choices`, `answer`.")
    min_accuracy: float | None = Field(
        None, ge=0, le=1, description="Smallest accuracy with which a model is released; default: it is only reported."
    )
    normalise: Literal["bytes", "none"] = Field(
        "bytes", description="`bytes` ranks choices by their nats per byte, `none` by their nats."
    )


class Question(NamedTuple):
    """A prompt, two or more different choices, and the index of the right choice."""

    prompt: str
    choices: list[str]
    answer: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class MultipleChoice:
    """The result of a multiple-choice task.

    Attributes:
        settings: The settings of the task.
        questions: The number of questions.
        correct: The number of right answers, scored by nats.
        correct_bytes: The number of right answers, scored by nats per byte.
        unscored: The number of questions with a choice whose score is not finite. If there are any, the accuracy is
            NaN.
        chance: The expected accuracy of guessing, 0 to 1.
    """

    settings: MultipleChoiceSettings
    questions: int
    correct: int
    correct_bytes: int
    unscored: int
    chance: float

    @property
    def accuracy(self) -> float:
        """Accuracy that is compared with the limit, 0 to 1; NaN if a score is missing."""
        return self._share(self.correct_bytes if self.settings.normalise == "bytes" else self.correct)

    def checks(self) -> list[Check]:
        """Returns the check of the accuracy, or an empty list if there is no limit."""
        if self.settings.min_accuracy is None:
            return []
        return [
            Check(
                metric=f"accuracy in {self.settings.name}",
                measured=self.accuracy,
                limit=self.settings.min_accuracy,
                bound="at least",
                limit_from=f"evaluation.tasks, {self.settings.name}: min_accuracy",
                percent=True,
            )
        ]

    def as_dict(self) -> dict[str, Any]:
        """Returns the figures for JSON.

        `accuracy_bytes` is the accuracy by nats per byte. Intervals are 95% Wilson intervals.
        """
        figures: dict[str, Any] = {}
        for name, correct in (("accuracy", self.correct), ("accuracy_bytes", self.correct_bytes)):
            share = self._share(correct)
            figures[name] = share if math.isfinite(share) else None
            figures[f"{name}_interval"] = wilson_interval(correct, self.questions) if math.isfinite(share) else None
        return {
            "kind": self.settings.kind,
            "name": self.settings.name,
            **figures,
            "chance": self.chance,
            "questions": self.questions,
            "unscored": self.unscored,
            "settings": self.settings.model_dump(mode="json"),
        }

    def _share(self, correct: int) -> float:
        return correct / self.questions if self.questions and not self.unscored else math.nan


def read_questions(path: str | Path) -> list[Question]:
    """Reads all questions of a .jsonl or .jsonl.gz file.

    A line has the keys of HellaSwag or general keys; other keys are ignored. `label` and `answer` count from 0. A
    `label` may also be a string of digits, as in some copies of HellaSwag.

    ```
    {"ctx": "A man sits on a roof. He", "endings": ["starts pulling up roofing.", "is ripping tiles."], "label": 0}
    {"prompt": "The capital of France is", "choices": ["Paris", "Rome", "Berlin"], "answer": 0}
    ```

    Raises:
        InputError: The file cannot be read or holds no question, or a line is not a question. The message names the
            line and the cure.
    """
    path = str(path)
    if file_kind(path) != ".jsonl":
        raise InputError(
            f"A task's questions are read from .jsonl files, one question per line. Received: {path}. Convert the file."
        )
    questions = list(_questions(path))
    if not questions:
        raise InputError(f"{path} holds no question. Add questions, or remove the task from `evaluation.tasks`.")
    return questions


def measure(
    settings: MultipleChoiceSettings,
    questions: Sequence[Question],
    *,
    template: PromptTemplate | None,
    nll: NegativeLogLikelihood,
) -> MultipleChoice:
    """Scores every choice of every question.

    An answer is right if the right choice has the strictly lowest score: a tie counts as wrong.

    Args:
        settings: The settings of the task.
        questions: The questions, from `read_questions`.
        template: The template of a model of instructions; None for a model of text.
        nll: The model's negative log-likelihood.
    """
    pairs = [joined(question.prompt, choice, template) for question in questions for choice in question.choices]
    scores = np.asarray(nll([prompt for prompt, _ in pairs], [completion for _, completion in pairs]), np.float64)
    sizes = np.array([len(choice.encode()) for question in questions for choice in question.choices])
    ends = np.cumsum([len(question.choices) for question in questions])[:-1]
    answers = [question.answer for question in questions]
    return MultipleChoice(
        settings=settings,
        questions=len(questions),
        correct=_count_best(np.split(scores, ends), answers),
        correct_bytes=_count_best(np.split(scores / sizes, ends), answers),
        unscored=sum(not np.isfinite(row).all() for row in np.split(scores, ends)),
        chance=float(np.mean([1 / len(question.choices) for question in questions])),
    )


def joined(prompt: str, choice: str, template: PromptTemplate | None) -> tuple[str, str]:
    """Returns the prompt and the completion as the model sees them; they are tokenized separately.

    Without a template, a space joins them, unless there is white space between them already. The white space goes to
    the completion, because in GPT-2's vocabularies a space belongs to the next word. With a template, the completion
    is the unchanged choice, as in training.

    ```
    "The sky is",     "blue"   ->  "The sky is",     " blue"
    "The sky is ",    "blue"   ->  "The sky is",     " blue"
    "The sky",        ", blue" ->  "The sky",        " , blue"
    "### Say:\\n",     "blue"   ->  "### Say:",       "\\nblue"
    ```
    """
    if template:
        return template.prompt(prompt), choice
    head = prompt.rstrip()
    gap = prompt[len(head) :]
    if head and not gap and not choice[:1].isspace():
        gap = " "
    return head, gap + choice


def _count_best(rows: Sequence[np.ndarray], answers: Sequence[int]) -> int:
    """Counts the rows whose strictly lowest score is that of the answer. A row with NaN does not count."""
    return sum(bool(np.all(row[answer] < np.delete(row, answer))) for row, answer in zip(rows, answers, strict=True))


def _rows(path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        yield from read_rows(path, [], required=False)
    except EncodingError as error:  # `data.encoding` is for the files of the corpus
        raise error.by_conversion from None


def _questions(path: str) -> Iterator[Question]:
    for place, row in _rows(path):
        if "ctx" in row:
            prompt, choices, answer = "ctx", "endings", "label"
        elif "prompt" in row:
            prompt, choices, answer = "prompt", "choices", "answer"
        else:
            raise InputError(
                f"{place}: a question has `ctx`, `endings` and `label`, or it has `prompt`, `choices` and `answer`. "
                f"Received: {', '.join(row) or 'none'}. Rename the keys."
            )
        texts = _choices(row, choices, place)
        yield Question(text_of(row, prompt, place), texts, _answer(row, answer, len(texts), place))


def _choices(row: Mapping[str, Any], key: str, place: str) -> list[str]:
    values = row.get(key)
    if not isinstance(values, list) or len(values) < 2:
        raise InputError(
            f"{place}: `{key}` must be a list of at least 2 texts. Received: {values!r:.80}. "
            f"Complete or remove the line."
        )
    texts = [text_of({key: value}, key, place) for value in values]
    if len(set(texts)) < len(texts) or not all(text.strip() for text in texts):
        raise InputError(
            f"{place}: `{key}` must be different texts, none of them empty. Received: {values!r:.80}. "
            f"Correct or remove the line."
        )
    return texts


def _answer(row: Mapping[str, Any], key: str, choices: int, place: str) -> int:
    value = row.get(key)
    if key == "label" and isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:9])  # Python refuses to convert thousands of digits
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < choices:
        raise InputError(
            f"{place}: `{key}` must be the number of the right choice, from 0 to {choices - 1}. "
            f"Received: {value!r:.80}. Correct or remove the line."
        )
    return value
