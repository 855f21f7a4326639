"""A real run from text to release, followed by runs after changes, which re-run only the affected nodes."""

import os
import re
import time
from pathlib import Path

import pytest

from modules.evaluation import gates, tflite_gate
from pipeline.console.comparison import changes
from pipeline.nodes import NODES
from tests.toys.checkout import ALL, RESOLVERS, ROOT, Checkout, FinishedRun, edited

# The nodes that check drift run again if other data passed in between.
CHECKS = {"ExampleValidator", "AnomalyGate", "TokenValidator", "TokenGate"}


def test_the_first_run_executes_every_node_and_pushes(first_run: FinishedRun) -> None:
    assert first_run.status == 0, first_run.output
    assert first_run.executed == ALL == set(NODES) - RESOLVERS - {"LengthGate"}  # which is for rows
    assert first_run.run.verdict == "pushed"
    assert 1 < first_run.run.perplexity < 300
    assert first_run.run.baseline_perplexity is None


def test_the_summary_shows_counts_verdict_and_place(first_run: FinishedRun, checkout: Checkout) -> None:
    run = first_run.run
    documents = run.measured("TextExampleGen", "examples", "documents_train")
    tokens = run.measured("Transform", "transformed_examples", "tokens_train")
    rows = [line.split() for line in first_run.output.splitlines()]
    size_bytes = run.measured("TextExampleGen", "examples", "bytes_train")
    assert ["train", f"{documents:,}", f"{size_bytes:,}", f"{tokens:,}"] in rows
    lower, upper = (run.measured("Evaluator", "evaluation", f"perplexity_{end}") for end in ("lower", "upper"))
    assert lower < run.perplexity < upper
    shown = ["this", "run", f"{run.perplexity:,.2f}", f"{lower:,.2f}", "to", f"{upper:,.2f}"]
    assert shown in [row[:6] for row in rows]
    assert ["perplexity", f"{run.perplexity:.4g}", "at", "most", "300", "✔"] in rows
    assert "Blessed: the one gate passed." in first_run.output
    assert ["PUSHED", str(run.release.relative_to(checkout.folder))] in rows
    assert documents > 1000
    assert tokens > 10 * documents


def test_library_noise_goes_to_the_log_and_not_to_the_terminal(first_run: FinishedRun, checkout: Checkout) -> None:
    log = next(line.removeprefix("logs: ") for line in first_run.output.splitlines() if line.startswith("logs: "))
    assert "INFO:absl:" in (checkout.folder / log).read_text()
    assert "absl" not in first_run.output
    assert "WARNING" not in first_run.output


def test_evaluated_tokens_are_all_tokens_of_the_split(first_run: FinishedRun) -> None:
    run = first_run.run
    documents = run.measured("TextExampleGen", "examples", "documents_eval")
    tokens = run.measured("Transform", "transformed_examples", "tokens_eval")
    # Each document adds one token: the model must also predict the end of text.
    assert run.measured("Evaluator", "evaluation", "tokens") == tokens + documents


def test_useful_slots_of_packed_and_unpacked_windows_are_reported(first_run: FinishedRun) -> None:
    run = first_run.run
    documents = run.measured("TextExampleGen", "examples", "documents_train")
    tokens = run.measured("Transform", "transformed_examples", "tokens_train")
    packed = run.measured("Transform", "transformed_examples", "packed_useful_share")
    assert packed == pytest.approx(tokens / (tokens + documents))
    shares = re.search(
        r"Packed windows are ([\d.]+)% text; with one document per window: ([\d.]+)%\.", first_run.output
    )
    assert shares is not None, first_run.output
    assert 30 < float(shares[2]) < float(shares[1]) == round(100 * packed, 1)


def test_an_identical_run_is_all_cached(first_run: FinishedRun, checkout: Checkout) -> None:
    again = checkout.run()
    assert (again.status, again.executed) == (0, set())
    assert again.run.release == first_run.run.release


def test_an_edited_line_re_runs_what_it_affects(first_run, checkout: Checkout) -> None:
    # `test_dag` shows for more files which nodes' cache keys they change; test_comparison.py edits one that none uses.
    file = checkout.folder / "components/perplexity_evaluator/executor.py"
    with edited(file, None, "# one more line\n"):
        assert checkout.run().executed == {"Evaluator", "Report", "Pusher"}


def test_a_changed_byte_re_runs_all_that_follows_and_a_worse_model_does_not_ship(first_run, checkout: Checkout) -> None:
    releases = list((checkout.folder / "workspace/topics/releases").iterdir())
    path = checkout.folder / "texts" / "topics_0.txt"
    times = path.stat()
    content = path.read_bytes()
    position = content.index(b"statement")
    path.write_bytes(content[:position] + b"S" + content[position + 1 :])
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    try:
        assert path.stat().st_size == times.st_size
        assert path.stat().st_mtime_ns == times.st_mtime_ns
        worse = checkout.run("--set", "training.steps=5", "--set", "evaluation.max_perplexity=1000000")
    finally:
        path.write_bytes(content)
    assert worse.executed == ALL - {"Contract", "TokenContract"}
    warning = "`training.warmup_steps` is 20, and the run has 5 steps"
    assert worse.output.count(f"warning  {warning}") == 2  # before the run, and in its summary
    assert warning in worse.run.output("Trainer", "model_run").properties["warnings"]
    assert warning in Path(worse.run.output("Report", "report").uri, "report.html").read_text()
    assert worse.status == 3, worse.output
    assert worse.run.verdict == "refused"
    assert worse.run.perplexity > 1.25 * worse.run.baseline_perplexity
    assert "Refused: rise in perplexity over the latest blessed model" in worse.output
    assert list((checkout.folder / "workspace/topics/releases").iterdir()) == releases


def test_a_run_ends_with_its_command(checkout: Checkout) -> None:
    with checkout.start("run", "--config", "recipe.yaml") as command:
        child = Path(f"/proc/{command.pid}/task/{command.pid}/children")
        while not child.read_text():
            assert command.poll() is None, command.communicate()
            time.sleep(0.01)
        runner = Path("/proc") / child.read_text().split()[0]
        command.kill()
    while runner.exists():
        time.sleep(0.1)


def test_a_stricter_gate_and_a_missing_slice_refuse_and_re_run_only_the_decision(first_run, checkout: Checkout) -> None:
    limits = "[{feature: source, max_perplexity: 1000}, {feature: source, value: gone.txt, max_perplexity: 1000}]"
    refused = checkout.run("--set", "evaluation.max_perplexity=1.5", "--set", f"evaluation.slice_limits={limits}")
    assert refused.status == 3, refused.output
    assert refused.executed - CHECKS == {"Evaluator", "Report", "Pusher"}
    assert refused.run.release is None
    reason = f"erplexity {refused.run.perplexity:.4g} is above 1.5 (evaluation.max_perplexity)"
    missing = "perplexity of source=gone.txt not measured (evaluation.slice_limits.1.max_perplexity)"
    assert f"Refused: p{reason}" in refused.output
    assert missing in refused.output
    page, card = (Path(refused.run.output("Report", "report").uri, name) for name in ("report.html", "model_card.md"))
    assert f"P{reason}" in page.read_text(encoding="utf-8")
    assert missing in page.read_text(encoding="utf-8")
    assert f"Refused: p{reason}".replace("_", r"\_") in card.read_text(encoding="utf-8")
    checks = gates.read_checks(refused.run.output("Evaluator", "evaluation").uri)
    assert [check.of for check in gates.failed(checks)] == ["", "source=gone.txt"]
    assert {"source=topics_0.txt", "source=topics_1.txt"} < {check.of for check in checks}


@pytest.mark.parametrize(("on_failure", "status"), [("leave_out", 0), ("stop", 3)])
def test_a_tflite_file_that_fails_is_left_out_or_stops_all(first_run, checkout: Checkout, on_failure, status) -> None:
    # int8 may be better than float by chance, but no perplexity falls by 100%: a limit that users cannot set.
    gate = checkout.folder / Path(tflite_gate.__file__).relative_to(ROOT)
    with edited(gate, "int8: NonNegativeFloat", "int8: float"):
        no_rise = checkout.run(
            "--set", "evaluation.tflite.max_rise.int8=-1", "--set", f"evaluation.tflite.on_failure={on_failure}"
        )
    assert no_rise.status == status, no_rise.output
    # The Evaluator runs again if another model was blessed in between.
    assert no_rise.executed - CHECKS - {"Evaluator"} == {"TFLiteEvaluator", "Report", "Pusher"}
    assert no_rise.run.measured("TFLiteEvaluator", "tflite_evaluation", "passed_int8") == 0
    assert no_rise.run.measured("TFLiteEvaluator", "tflite_evaluation", "passed_float16") == 1
    if on_failure == "stop":
        assert "and nothing ships without it (evaluation.tflite.on_failure)" in no_rise.output
        return
    assert "int8 is left out: rise in perplexity of int8" in no_rise.output
    assert [file.name for file in (no_rise.run.release / "tflite").iterdir()] == ["model_fp16.tflite"]
    generated = checkout.command(
        "generate", "--prompt", "x", "--release", str(no_rise.run.release), "--format", "tflite-int8"
    )
    assert generated.returncode == 2
    assert "rise in perplexity of int8" in generated.stderr


def test_from_node_reuses_earlier_nodes_of_the_last_run(first_run, checkout: Checkout) -> None:
    # The last full run has this configuration. A validation in between has no model that could be reused.
    checkout.run()
    assert checkout.command("validate", "--config", "recipe.yaml").returncode == 0
    assert checkout.reader().runs()[0].verdict == "validated"
    with edited(checkout.folder / "modules" / "release" / "publishing.py", None, "# another line\n"):
        partial = checkout.run("--from-node", "Pusher")
    assert partial.status == 0, partial.output
    assert partial.executed == {"Pusher"}
    assert partial.run.perplexity == first_run.run.perplexity
    assert changes(first_run.run.record.code, partial.run.record.code).differing.keys() == {
        "modules/release/publishing.py"
    }


def test_an_unknown_node_is_named(first_run, checkout: Checkout) -> None:
    result = checkout.command("run", "--config", "recipe.yaml", "--from-node", "Trainr")
    assert result.returncode == 2
    assert "--from-node must be one of" in result.stderr
    assert "Trainer" in result.stderr


def test_data_that_breaks_the_contract_stops_the_pipeline_in_words(stopped_run: FinishedRun) -> None:
    assert stopped_run.status == 2, stopped_run.output
    assert "the data breaks its contract" in stopped_run.output
    assert "train: `language`: Column dropped" in stopped_run.output
    assert stopped_run.executed - {"Contract"} == {"ExampleValidator"}
    assert "Transform" not in {execution.node for execution in stopped_run.run.executions}
