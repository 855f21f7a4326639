"""The gate of the perplexities: the results on the eval split, compared with the limits of the configuration."""

import math
from collections.abc import Iterator
from typing import Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from modules.common.settings import Settings
from modules.evaluation.gates import Check
from modules.evaluation.results import Evaluation, SliceResult

PERPLEXITY = "perplexity"
REGRESSION = "rise in perplexity over the latest blessed model"
# The name for models with different tokenizers: see `language_model_metrics`.
REGRESSION_IN_BYTES = f"{REGRESSION}, from bits per byte"
IMPROVEMENT = "improvement in perplexity over the preset"


class SliceLimit(Settings):
    """Limits for a part of the eval split."""

    feature: str = Field(description="A feature of the data contract, for example `source` or `length`.")
    value: str | None = Field(None, description="A value of the feature; default: each value has its own check.")
    max_perplexity: PositiveFloat | None = Field(None, description="Largest perplexity of the slice.")
    max_regression: NonNegativeFloat | None = Field(
        None, description="Largest relative rise in the slice's perplexity over the latest blessed model."
    )
    min_documents: PositiveInt = Field(1, description="Without a `value`, slices with fewer documents are not checked.")

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.max_perplexity is None and self.max_regression is None:
            raise ValueError("a limit needs `max_perplexity` or `max_regression`")
        return self


class PerplexityGateSettings(Settings):
    """The limits. Perplexity is exp(nats per token) over the whole eval split."""

    max_perplexity: PositiveFloat = Field(
        description="Largest perplexity on the whole eval split with which a model is released."
    )
    max_regression: NonNegativeFloat = Field(
        0.0,
        description="Largest relative rise in perplexity over the latest blessed model on the same eval data; 0.02 is "
        "2%. If the tokenizers differ, bits per byte are compared in such a way that 0.02 still allows 2%.",
    )
    min_improvement: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="Smallest relative fall in perplexity that fine-tuning must reach, compared with `model.preset`.",
    )
    slice_limits: tuple[SliceLimit, ...] = Field(
        (), description="Limits for parts of the eval split, each with its own settings."
    )

    def check(self, evaluation: Evaluation, perplexity_before: float | None) -> list[Check]:
        """Returns the comparisons of an evaluation with the limits.

        Args:
            evaluation: The evaluation of the candidate and, if there is one, of the latest blessed model.
            perplexity_before: The preset's perplexity on the same eval split; None if it was not measured.
        """
        regression = REGRESSION_IN_BYTES if evaluation.same_tokenizer is False else REGRESSION
        checks = [*_checks(evaluation.overall, self.max_perplexity, self.max_regression, "evaluation", regression)]
        if self.min_improvement is not None:
            before = math.nan if perplexity_before is None else perplexity_before
            gained = 1 - evaluation.overall.candidate.perplexity / before if math.isfinite(before) else None
            checks.append(
                Check(
                    metric=IMPROVEMENT,
                    measured=gained,
                    limit=self.min_improvement,
                    bound="at least",
                    limit_from="evaluation.min_improvement",
                    percent=True,
                )
            )
        for number, limit in enumerate(self.slice_limits):
            setting = f"evaluation.slice_limits.{number}"
            found = list(_slices(evaluation, limit))
            for result in found:
                checks += _checks(result, limit.max_perplexity, limit.max_regression, setting, regression)
            if not found:
                checks.append(_missing(limit, setting))
        return checks


def _slices(evaluation: Evaluation, limit: SliceLimit) -> Iterator[SliceResult]:
    for result in evaluation.slices:
        if result.feature != limit.feature:
            continue
        if result.value == limit.value or (limit.value is None and result.documents >= limit.min_documents):
            yield result


def _checks(
    result: SliceResult, max_perplexity: float | None, max_regression: float | None, setting: str, regression: str
) -> Iterator[Check]:
    if max_perplexity is not None:
        yield Check(
            metric=PERPLEXITY,
            of=result.name,
            measured=result.candidate.perplexity,
            limit=max_perplexity,
            bound="at most",
            limit_from=f"{setting}.max_perplexity",
        )
    # The first model cannot be compared with an earlier one.
    if max_regression is not None and result.change is not None:
        yield Check(
            metric=regression,
            of=result.name,
            measured=result.change.perplexity,
            limit=max_regression,
            bound="at most",
            limit_from=f"{setting}.max_regression",
            percent=True,
        )


def _missing(limit: SliceLimit, setting: str) -> Check:
    """Returns a check that fails, because no slice of the eval split fits the limit."""
    max_perplexity = limit.max_perplexity is not None
    name, value = (
        ("max_perplexity", limit.max_perplexity) if max_perplexity else ("max_regression", limit.max_regression)
    )
    return Check(
        metric=PERPLEXITY if max_perplexity else REGRESSION,
        of=f"{limit.feature}={limit.value}" if limit.value is not None else f"every {limit.feature}",
        measured=None,
        limit=value or 0.0,
        bound="at most",
        limit_from=f"{setting}.{name}",
        percent=not max_perplexity,
    )
