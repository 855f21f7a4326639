"""The sentences and short tables of a report. Parts without data are left out."""

import math
import statistics

from modules.common import formatting
from modules.common.formatting import count, number
from modules.evaluation.results import Evaluation, SliceResult
from modules.report.contents import Data, Model, Report
from modules.report.escaping import visible
from modules.training.record import TrainingRecord


def comparison(report: Report) -> list[str]:
    """Returns notes on the comparison of the perplexity with other models, one sentence each."""
    evaluation = report.evaluation
    notes = []
    overlapping = evaluation.stride != evaluation.window
    if report.training.perplexity_before is not None and not overlapping:
        before, after = number(report.training.perplexity_before), number(evaluation.overall.candidate.perplexity)
        notes.append(
            f"Before training, {report.model.start} had a perplexity of {before} on the same documents. "
            f"Now it is {after}."
        )
    if evaluation.overall.baseline is None:
        notes.append("There is no blessed model to compare with yet.")
    return [*notes, *evaluation.notes]


def comparable(evaluation: Evaluation) -> bool:
    """Returns whether there is a baseline with the same tokenizer, so that perplexities can be compared."""
    return evaluation.overall.baseline is not None and evaluation.same_tokenizer is not False


def change(evaluation: Evaluation) -> tuple[str, str]:
    """Returns the change in perplexity, and its interval with its basis.

    `("−4.0%", "−6.0% to −2.0% relative to the latest blessed model")`
    """
    change = evaluation.overall.change
    if evaluation.overall.baseline is None or change is None:
        return "first", "no blessed model to compare with"
    basis = (
        "relative to the latest blessed model"
        if comparable(evaluation)
        else "computed from bits per byte, because the tokenizer changed"
    )
    ends = formatting.change_interval(change.perplexity_interval)
    return formatting.change(change.perplexity), f"{ends} {basis}".strip()


def training(report: Report) -> str:
    """Returns `1,334,016 parameters from a random start, 3,200 steps at 7,800 tokens per second. Training loss …`."""
    steps = f", {report.training.loss[-1].step:,} steps" if report.training.loss else ""
    speeds = [point.tokens_per_second for point in report.training.loss]
    speed = f" at {number(statistics.median(speeds))} tokens per second" if speeds else ""
    parameters = f"{count(report.model.parameters)} parameters from {report.model.start}"
    unused = report.training.unused_tokens
    left_out = f"The last {unused:,} tokens of the train split fill no window and are left out." if unused else ""
    return f"{parameters}{steps}{speed}. {loss(report.training)} {left_out}".strip()


def loss(training: TrainingRecord) -> str:
    """Returns `Training loss from 8.3 at step 10 to 4.84 at step 3,200; validation loss 4.9 at step 3,200.`"""
    logged = [(point.loss, point.step) for point in training.loss if point.loss is not None]
    validation = [(point.loss, point.step) for point in training.validation if point.loss is not None]
    if not logged:
        return ""
    held_out = f"; validation loss {_at_step(validation[-1])}" if validation else ""
    return f"Training loss from {_at_step(logged[0])} to {_at_step(logged[-1])}{held_out}."


def perplexity(evaluation: Evaluation) -> str:
    """Returns `Overall perplexity: 151.8. Of 4 slices, source=python (120) is lowest and source=a (170) highest.`"""

    def value(result: SliceResult) -> float:
        return result.candidate.perplexity

    words = f"Overall perplexity: {number(evaluation.overall.candidate.perplexity)}."
    measured = [result for result in evaluation.slices[1:] if math.isfinite(value(result))]
    if len(measured) < 2:
        return words
    lowest, highest = min(measured, key=value), max(measured, key=value)
    return (
        f"{words} Of {len(measured)} slices, {visible(lowest.name)} ({number(value(lowest))}) is lowest and "
        f"{visible(highest.name)} ({number(value(highest))}) highest."
    )


def files(report: Report) -> str:
    """Returns how the TFLite files were measured: on which part of the eval split, and in which units."""
    measured = [file.measured for file in report.files if file.measured]
    if not measured:
        return "The TFLite files were not measured."
    first = measured[0]
    return (
        f"The TFLite files were measured on {count(first.documents)} documents of the eval split "
        f"({count(first.tokens)} tokens). On these documents the SavedModel has a perplexity of "
        f"{number(first.float_perplexity)}, and the rise is relative to it. "
        "Greedy agreement: mean number of tokens before a file's greedy text differs from the SavedModel's. "
        "Tokens per second: decoding with the KV cache on the machine of the run."
    )


def model_facts(model: Model) -> dict[str, str]:
    """Returns the start and the sizes of the model, by name."""
    return {
        "start": model.start,
        "parameters": count(model.parameters),
        "layers": count(model.num_layers),
        "heads": count(model.num_heads),
        "hidden dimension": count(model.hidden_dim),
        "vocabulary": count(model.vocabulary_size),
        "context, tokens": count(model.context_length),
    }


def secrets(data: Data) -> str:
    """Returns the number of passages that look like secrets, by kind; empty if there are none."""
    found = [f"{kind.replace('_', ' ')}: {count(passages)}" for kind, passages in data.secrets.items() if passages]
    return f"Passages that look like secrets or addresses, by kind: {', '.join(found)}." if found else ""


def fingerprints(report: Report) -> dict[str, str]:
    """Returns the hashes of the data and the files, by name."""
    evaluation = report.evaluation
    named = {
        "input text": report.data.input_fingerprint,
        "eval split": evaluation.eval_fingerprint,
        "eval split of the latest blessed model": evaluation.baseline_eval_fingerprint,
        **{file.name: file.sha256 for file in report.files},
    }
    return {name: value for name, value in named.items() if value}


def _at_step(point: tuple[float, int]) -> str:
    return f"{number(point[0])} at step {point[1]:,}"
