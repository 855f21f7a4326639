"""The results of the TFLite files, `files.json`: what was measured of each file, and whether it may be released."""

import dataclasses
import math
import os
from collections.abc import Mapping

import pydantic

from modules.common.json_files import finite, reading, write_json
from modules.export.tflite_files import Precision

FILES_FILE = "files.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class GreedyAgreement:
    """Agreement of a file's greedy continuations of some prompts with the SavedModel's.

    Attributes:
        prompts: Number of prompts.
        tokens: Number of new tokens that were asked for.
        mean, least: Mean and minimum over the prompts of the number of leading tokens that spell the same text. A
            continuation that is the same to its end counts as `tokens`.
        whole: Number of continuations that are the same to their end.
    """

    prompts: int
    tokens: int
    mean: float
    least: int
    whole: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileFigures:
    """The measurements of one TFLite file.

    Attributes:
        nll_sum, float_nll_sum: Negative log-likelihood in nats of the same documents under the file and under the
            SavedModel.
        documents, tokens: Number of scored documents, and of their tokens.
        whole_split: Whether these are all documents of the eval split.
        greedy_agreement: None without prompts.
        decode_tokens_per_second, float_decode_tokens_per_second: Speed of decoding token by token on the machine that
            measured; the SavedModel's speed is for a single prompt.
        size_bytes, sha256: Of the file.
        problem: Why the file could not be measured; empty if it was.
    """

    nll_sum: float
    float_nll_sum: float
    documents: int
    tokens: int
    whole_split: bool
    greedy_agreement: GreedyAgreement | None
    decode_tokens_per_second: float
    float_decode_tokens_per_second: float
    size_bytes: int
    sha256: str
    problem: str = ""

    @property
    def perplexity(self) -> float:
        """exp(nats per token); NaN without tokens."""
        return _exp(self.nll_sum / self.tokens) if self.tokens else math.nan

    @property
    def float_perplexity(self) -> float:
        """The SavedModel's perplexity on the same documents."""
        return _exp(self.float_nll_sum / self.tokens) if self.tokens else math.nan

    @property
    def rise(self) -> float:
        """Relative rise in perplexity over the SavedModel: 0.02 is 2% worse."""
        return _exp((self.nll_sum - self.float_nll_sum) / self.tokens) - 1 if self.tokens else math.nan


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileResult:
    """One file's entry in `files.json`; figures that are not finite are None. See `FileFigures` for the figures.

    Attributes:
        passed: Whether the file passed its own gate.
        released: Whether the file may be released.
        verdict: The gate's decision as a sentence.
    """

    perplexity: float | None
    float_perplexity: float | None
    rise: float | None
    documents: int
    tokens: int
    greedy_agreement: GreedyAgreement | None
    decode_tokens_per_second: float | None
    float_decode_tokens_per_second: float | None
    size_bytes: int
    sha256: str
    passed: bool
    released: bool
    verdict: str


_RESULTS = pydantic.TypeAdapter(dict[Precision, FileResult])


def write_results(folder: str | os.PathLike[str], results: Mapping[Precision, FileResult]) -> None:
    """Writes `files.json` into an evaluation's folder: the results by precision."""
    write_json(folder, FILES_FILE, {precision: dataclasses.asdict(result) for precision, result in results.items()})


def read_results(folder: str | os.PathLike[str]) -> dict[Precision, FileResult]:
    """Reads `files.json`; keys of other versions are ignored.

    Raises:
        OSError: The folder has no such file.
        InputError: The file lacks a value or has one of another type.
    """
    with reading(folder, FILES_FILE) as content:
        return _RESULTS.validate_python(finite(content))


def _exp(value: float) -> float:
    """exp, or infinity where that overflows."""
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf
