"""The benchmarks run on tiny inputs; their figures have no meaning."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.toys.checkout import ROOT


def test_the_data_benchmark_runs() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.data", "--sizes", "1", "--without-peer"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    figures = json.loads(result.stdout.splitlines()[-1])
    assert 500 < figures["peak_rss_mb"]["1"] < 3000
    assert figures["mb_per_s"]["1"] > 0
    assert figures["mb_per_s_all_1000"] is figures["vs_datatrove"] is None


def test_the_memory_of_children_counts() -> None:
    from tests.benchmarks.data import process_tree, resident_megabytes

    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert child.pid in process_tree(os.getpid())
        assert 1 < resident_megabytes(child.pid) < 100


def test_the_tokenizer_benchmark_finds_no_mismatch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.benchmarks import tokenizer

    cut_documents = tokenizer.cut_documents
    monkeypatch.setattr(tokenizer, "cut_documents", lambda texts: cut_documents(texts)[:30])
    monkeypatch.setattr(tokenizer, "TURNS", 1)
    monkeypatch.setattr(tokenizer, "TURN_MB", 0.1)
    tokenizer.main()
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures["mismatches"] == 0
    assert {
        "tfdata_vs_hf_one_thread",
        "transform_vs_hf_one_thread",
        "own_vocabulary_vs_hf_one_thread",
    } <= set(figures)


def test_the_vocabulary_benchmark_finds_the_same_merges(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from tests.benchmarks import vocabulary

    monkeypatch.setattr(vocabulary, "MEGABYTES", 1)
    monkeypatch.setattr(vocabulary, "VOCABULARY_SIZE", 1000)
    vocabulary.train_with_hf(tmp_path)
    vocabulary.train_in_transform(tmp_path)
    hf, ours = (json.loads((tmp_path / f"{name}.result").read_text())["merges"] for name in ("hf", "ours"))
    assert ours == hf


def test_the_training_benchmark_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Uses this project's trainer in place of the peer, which needs a separate environment."""
    from tests.benchmarks import training

    class Substitute(training.Trainer):
        def __init__(self, python: Path | str, module: str, shape: str, precision: str, source: str = "cached"):
            super().__init__(sys.executable, "ours", "tiny", precision, source)

    monkeypatch.setattr(training, "PEERS_PYTHON", Path(sys.executable))
    monkeypatch.setattr(training, "Trainer", Substitute)
    monkeypatch.setattr(training, "profile", lambda shape, precision: {"attention": 1.0})
    monkeypatch.setattr(training, "TURNS", 1)
    monkeypatch.setattr(training, "PRECISIONS", ("bfloat16",))
    monkeypatch.setattr(training, "STEPS_PER_TURN", {"large": 2})
    training.main([])
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(figures) == {"bfloat16_large_vs_hf", "gemm_share_large"}
    assert min(figures.values()) > 0


def test_a_step_of_gpt2_base_takes_six_operations_per_parameter_and_token() -> None:
    from tests.benchmarks.peers.turns import SHAPES
    from tests.benchmarks.training import step_flops

    # 85 million parameters are in the layers and 39 million in the embedding; attention adds 4%.
    assert step_flops(SHAPES["large"]) == pytest.approx(1.04 * 512 * 6 * 123.5e6, rel=0.01)
