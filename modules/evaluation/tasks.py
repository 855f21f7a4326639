"""Evaluation of a model by memorisation and tasks.

TensorFlow is imported only when a model is loaded, because the command line reads the settings and checks the tasks'
files before.
"""

import dataclasses
import functools
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import pydantic
from pydantic import Field

from modules.common.errors import InputError
from modules.common.json_files import write_json
from modules.common.settings import Settings
from modules.data.prompt_templates import PromptTemplate
from modules.evaluation import answers, memorisation, multiple_choice
from modules.evaluation.answers import Answers, AnswersSettings
from modules.evaluation.gates import Check, write_checks
from modules.evaluation.memorisation import Memorisation, MemorisationSettings
from modules.evaluation.multiple_choice import MultipleChoice, MultipleChoiceSettings, Question
from modules.evaluation.task_figures import TASKS_FILE

Task = Annotated[MultipleChoiceSettings | AnswersSettings, Field(discriminator="kind")]

# Numbers of cut prompts have these names in ML Metadata: of memorisation, of the Trainer and of the TFLiteEvaluator.
_RESERVED = ("memorisation", "samples", "greedy_agreement")


def _different(tasks: tuple[Task, ...]) -> tuple[Task, ...]:
    names = [_name(task) for task in tasks]
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise ValueError(
            "every task needs a name of its own, and `answers` may occur only once. "
            f"Received: {repeated[0]}, which is repeated; rename a task or take it out"
        )
    reserved = [name for name in names if name in _RESERVED]
    if reserved:
        raise ValueError(
            f"a task must not have one of the names {', '.join(_RESERVED)}, under which other prompts are counted. "
            f"Received: {reserved[0]}; rename the task"
        )
    return tasks


Tasks = Annotated[tuple[Task, ...], pydantic.AfterValidator(_different)]


class TaskSettings(Settings):
    """The settings of the TaskEvaluator."""

    memorisation: MemorisationSettings = Field(
        MemorisationSettings.model_validate({}), description="Measures how much training text the model recites."
    )
    tasks: Tasks = Field((), description="Multiple-choice files, and answers to prompts of the eval split.")


def check_tasks(tasks: Sequence[Task], *, data_kind: str) -> None:
    """Checks, without TensorFlow, that every task can be measured; reads the tasks' files completely.

    Args:
        tasks: The tasks in the settings.
        data_kind: The kind of the corpus, one of `example_tokens.DATA_KINDS`.

    Raises:
        InputError: A file is invalid, or a task needs answers and the corpus has none.
    """
    for task in tasks:
        if isinstance(task, MultipleChoiceSettings):
            multiple_choice.read_questions(task.file)
        elif data_kind == "text":
            raise InputError(
                "`evaluation.tasks`: `kind: answers` needs a corpus with completions, `data.kind: instruction` or "
                f"`preference`. Received: `data.kind: {data_kind}`. Take the task out."
            )


def fingerprint(tasks: Sequence[Task]) -> str:
    """Returns the SHA-256 of the content of the tasks' files, as 64 hexadecimal digits.

    Raises:
        InputError: A file cannot be read.
    """
    digest = hashlib.sha256()
    for task in tasks:
        if isinstance(task, MultipleChoiceSettings):
            try:
                with open(task.file, "rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
            except OSError as error:
                raise InputError(f"{task.file} cannot be read: {error.strerror or error}.") from error
    return digest.hexdigest()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Corpus:
    """The data on which the model was trained and is evaluated.

    Attributes:
        train_files: Gzip TFRecord files of the train split's examples.
        eval_files: Gzip TFRecord files of the eval split's examples.
        data_kind: One of `example_tokens.DATA_KINDS`.
        template: Template of the prompts; None for `text`.
    """

    train_files: Sequence[str]
    eval_files: Sequence[str]
    data_kind: str
    template: PromptTemplate | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskResults:
    """The results: memorisation, None if it is switched off, and the tasks in the order of the settings.

    `cut_prompts` has the number of prompts that exceeded the context, by the name of the task, or `memorisation`.
    """

    memorisation: Memorisation | None
    tasks: Sequence[MultipleChoice | Answers]
    cut_prompts: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def checks(self) -> list[Check]:
        """Returns a check for each limit in the settings."""
        return [check for result in (self.memorisation, *self.tasks) if result for check in result.checks()]

    def figures(self) -> dict[str, float]:
        """Returns `memorised_share`, `accuracy_<name>`, `rouge_l` and `bleu`, as far as they could be measured."""
        figures = {"memorised_share": self.memorisation.share} if self.memorisation else {}
        for task in self.tasks:
            if isinstance(task, MultipleChoice):
                figures[f"accuracy_{task.settings.name}"] = task.accuracy
            else:
                figures |= {"rouge_l": task.rouge_l, "bleu": task.bleu}
        return {name: value for name, value in figures.items() if math.isfinite(value)}

    def counts(self) -> dict[str, int]:
        """Returns the numbers of cut prompts under the names of ML Metadata's properties."""
        return {f"changed_prompts_of_{name}_cut": number for name, number in self.cut_prompts.items()}

    def write(self, folder: str | Path) -> None:
        """Writes `checks.json` and `tasks.json`: `{"memorisation": {…} or null, "tasks": [{…}, …]}`."""
        results = {
            "memorisation": self.memorisation.as_dict() if self.memorisation else None,
            "tasks": [task.as_dict() for task in self.tasks],
        }
        write_checks(folder, self.checks())
        write_json(folder, TASKS_FILE, results)


def evaluate(
    settings: TaskSettings,
    saved_model_dir: str,
    corpus: Corpus,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> TaskResults:
    """Loads the model once and measures memorisation and all tasks.

    Args:
        settings: The settings of all measurements.
        saved_model_dir: A SavedModel with the signatures `generate` and `score`.
        corpus: The data.
        on_progress: Is called with the number of texts that the model has processed, and the approximate number of all.

    Raises:
        InputError: See `check_tasks`.
    """
    check_tasks(settings.tasks, data_kind=corpus.data_kind)
    questions = {
        task.name: multiple_choice.read_questions(task.file)
        for task in settings.tasks
        if isinstance(task, MultipleChoiceSettings)
    }
    total = _texts_to_come(settings, questions)
    if not total:
        return TaskResults(memorisation=None, tasks=[])
    from modules.serving.loaded_model import LoadedModel

    on_progress(0, total)
    model = LoadedModel(saved_model_dir, on_texts=lambda seen: on_progress(seen, total))

    generate = functools.partial(model.continued, template=corpus.template)
    cut: dict[str, int] = {}

    def counted(name: str, measure: Callable[[], Any]) -> Any:
        before = model.cut_prompts
        result = measure()
        cut[name] = model.cut_prompts - before
        return result

    def measured(task: Task) -> MultipleChoice | Answers:
        if isinstance(task, MultipleChoiceSettings):
            return multiple_choice.measure(task, questions[task.name], template=corpus.template, nll=model.nll)
        return answers.measure(task, corpus.eval_files, generate=generate)

    def recited() -> Memorisation | None:
        if not settings.memorisation.prompts:
            return None
        return memorisation.measure(
            settings.memorisation, corpus.train_files, data_kind=corpus.data_kind, generate=generate
        )

    return TaskResults(
        memorisation=counted("memorisation", recited),
        tasks=[counted(_name(task), functools.partial(measured, task)) for task in settings.tasks],
        cut_prompts=cut,
    )


def _texts_to_come(settings: TaskSettings, questions: Mapping[str, Sequence[Question]]) -> int:
    choices = sum(len(question.choices) for rows in questions.values() for question in rows)
    answers = sum(task.rows for task in settings.tasks if isinstance(task, AnswersSettings))
    return settings.memorisation.prompts + choices + answers


def _name(task: Task) -> str:
    return task.name if isinstance(task, MultipleChoiceSettings) else task.kind
