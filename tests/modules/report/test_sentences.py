from pathlib import Path
from typing import Any

import pytest

from modules.report import gathering, sentences
from modules.report.contents import Report
from tests.toys.report import CONFIGURATION, evaluation, evaluation_slice, write_artifacts

BASELINE = [evaluation_slice("", 120.0, 150.0)]


def report(folder: Path, **settings: Any) -> Report:
    artifacts = write_artifacts(folder, **settings)
    return gathering.gather(artifacts, pipeline="poems", run="run 7", configuration=CONFIGURATION)


@pytest.mark.parametrize(
    ("settings", "notes", "change"),
    [
        (
            {},
            ["There is no blessed model yet to compare with."],
            ("first", "nothing blessed yet to compare with"),
        ),
        (
            {"slices": BASELINE, "metrics": {"same_tokenizer": True, "baseline_eval_fingerprint": "e1e1"}},
            [],
            ("−20.0%", "−20.0% to −10.0% against the latest blessed"),
        ),
        (
            {"slices": BASELINE, "metrics": {"same_tokenizer": True, "baseline_eval_fingerprint": "0d0d"}},
            ["The eval data has changed since the latest blessed model was blessed, and that model may have been "
            "trained on some of it. Both models were measured on the present eval data."],
            ("−20.0%", "−20.0% to −10.0% against the latest blessed"),
        ),
        (
            {"slices": BASELINE, "metrics": {"same_tokenizer": False, "baseline_eval_fingerprint": "e1e1"}},
            ["The latest blessed model has another tokenizer: the two perplexities cannot be compared, "
             "but bits per byte can."],
            ("−20.0%", "−20.0% to −10.0% from bits per byte, as the tokenizer changed"),
        ),
        (
            {"slices": BASELINE, "training": {"perplexity_before": 400.0, "warm_start": True}},
            ["Before the training it was 400 on the same documents, of the latest blessed model; now it is 120."],
            ("−20.0%", "−20.0% to −10.0% against the latest blessed"),
        ),
    ],
)  # fmt: skip
def test_the_comparison(tmp_path: Path, settings: dict[str, Any], notes: list[str], change: tuple[str, str]) -> None:
    told = report(tmp_path, **settings)
    assert sentences.comparison(told) == notes
    assert sentences.change(told.evaluation) == change


def test_the_training_in_words(tmp_path: Path) -> None:
    assert sentences.training(report(tmp_path)) == (
        "1,334,016 parameters from a random start, 300 steps at 7,050 tokens a second. "
        "Training loss from 8.25 at step 10 to 4.84 at step 300; validation loss 4.9 at step 300."
    )


def test_slices_in_words() -> None:
    slices = [evaluation_slice(name, value) for name, value in (("", 120.0), ("a", 90.0), ("b", None), ("c", 130.0))]
    assert sentences.perplexity(evaluation(*slices)) == (
        "Perplexity in all: 120. Of 2 slices source=a (90) is lowest and source=c (130) highest."
    )


def test_the_files_say_on_what_they_were_measured(tmp_path: Path) -> None:
    assert sentences.files(report(tmp_path)).startswith(
        "The TFLite files are measured on 20 documents of the eval split (1,000 tokens), where the SavedModel has a "
        "perplexity of 120; the rise is against that."
    )
