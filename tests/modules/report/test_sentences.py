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
            ["There is no blessed model to compare with yet."],
            ("first", "no blessed model to compare with"),
        ),
        (
            {"slices": BASELINE, "metrics": {"same_tokenizer": True, "baseline_eval_fingerprint": "e1e1"}},
            [],
            ("−20.0%", "−20.0% to −10.0% relative to the latest blessed model"),
        ),
        (
            {"slices": BASELINE, "metrics": {"same_tokenizer": True, "baseline_eval_fingerprint": "0d0d"}},
            ["The eval data has changed since the latest blessed model was blessed, and that model may have been "
            "trained on some of it. Both models were measured on the present eval data."],
            ("−20.0%", "−20.0% to −10.0% relative to the latest blessed model"),
        ),
        (
            {"slices": BASELINE, "metrics": {"same_tokenizer": False, "baseline_eval_fingerprint": "e1e1"}},
            ["The latest blessed model has another tokenizer: the two perplexities cannot be compared, "
             "but bits per byte can."],
            ("−20.0%", "−20.0% to −10.0% computed from bits per byte, because the tokenizer changed"),
        ),
        (
            {"slices": BASELINE, "training": {"perplexity_before": 400.0, "warm_start": True}},
            ["Before training, the latest blessed model had a perplexity of 400 on the same documents. Now it is 120."],
            ("−20.0%", "−20.0% to −10.0% relative to the latest blessed model"),
        ),
    ],
)  # fmt: skip
def test_the_comparison_has_notes(
    tmp_path: Path, settings: dict[str, Any], notes: list[str], change: tuple[str, str]
) -> None:
    compared = report(tmp_path, **settings)
    assert sentences.comparison(compared) == notes
    assert sentences.change(compared.evaluation) == change


def test_the_training_sentence_has_steps_speed_and_losses(tmp_path: Path) -> None:
    assert sentences.training(report(tmp_path)) == (
        "1,334,016 parameters from a random start, 300 steps at 7,050 tokens per second. "
        "Training loss from 8.25 at step 10 to 4.84 at step 300; validation loss 4.9 at step 300."
    )
    unused = sentences.training(report(tmp_path / "unused", training={"unused_tokens": 76}))
    assert unused.endswith(". The last 76 tokens of the train split fill no window and are left out.")


def test_the_perplexity_sentence_names_the_lowest_and_the_highest_slice() -> None:
    slices = [evaluation_slice(name, value) for name, value in (("", 120.0), ("a", 90.0), ("b", None), ("c", 130.0))]
    assert sentences.perplexity(evaluation(*slices)) == (
        "Overall perplexity: 120. Of 2 slices, source=a (90) is lowest and source=c (130) highest."
    )


def test_the_files_sentence_names_the_measured_documents(tmp_path: Path) -> None:
    assert sentences.files(report(tmp_path)).startswith(
        "The TFLite files were measured on 20 documents of the eval split (1,000 tokens). On these documents the "
        "SavedModel has a perplexity of 120, and the rise is relative to it."
    )
