"""Fixtures for one real run of the pipeline, which all tests of its results share, and the order of the tests."""

import gc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from tests.toys.checkout import ROOT, Checkout, FinishedRun, edited, topics_checkout

# As in `modules.common.child_process`: the imports and graphs of TensorFlow are millions of objects that stay.
gc.set_threshold(50_000, 20, 20)
# No time limits: the machine may be busy with other work.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

# Tests run in two processes (pytest-xdist), each file in one of them; these share one `first_run`, so all in the same,
# in this order: the better model of the last file changes with what later runs are compared.
# xdist's own `--dist loadgroup` would do, but pytest 9.2 computes a test's `nodeid` and so ignores the group that
# xdist 3.8 writes behind it; and the process that schedules knows no more of a test than this id.
SHARE_THE_RUN = (
    "tests/pipeline/console/test_comparison.py",
    "tests/pipeline/metadata/test_reader.py",
    "tests/pipeline/test_release.py",
    "tests/pipeline/test_run.py",
    "tests/test_notebooks.py",
    "tests/chaos/test_changed_bytes.py",
    "tests/pipeline/test_better_model.py",
)
# Files of tests that train, convert or export models, or run Beam: `make check` leaves them to `make test`, and with
# them every test that runs the pipeline.
SLOW = (
    "tests/chaos/test_kills.py",
    "tests/components/test_perplexity_evaluator.py",
    "tests/components/test_same_examples.py",
    "tests/components/test_task_evaluator.py",
    "tests/components/test_text_example_gen.py",
    "tests/components/test_text_validator.py",
    "tests/components/test_tflite_converter.py",
    "tests/components/test_tflite_evaluator.py",
    "tests/modules/evaluation/test_tasks.py",
    "tests/modules/evaluation/test_tflite_measurer.py",
    "tests/modules/evaluation/test_tflite_scoring.py",
    "tests/modules/export/test_text_model.py",
    "tests/modules/export/test_tflite_conversion.py",
    "tests/modules/export/test_tflite_metadata.py",
    "tests/modules/export/test_tflite_worker.py",
    "tests/modules/model/test_fused_decoder.py",
    "tests/modules/model/test_gpt2.py",
    "tests/modules/model/test_lora.py",
    "tests/modules/model/test_rematerialization.py",
    "tests/modules/objectives/test_distillation.py",
    "tests/modules/serving/test_litert_model.py",
    "tests/modules/serving/test_loaded_model.py",
    "tests/modules/serving/test_text_generators.py",
    "tests/modules/tokenization/test_bpe_exact.py",
    "tests/modules/tokenization/test_preprocessing.py",
    "tests/modules/training/test_checkpoint_file.py",
    "tests/modules/training/test_checkpoints.py",
    "tests/modules/training/test_devices.py",
    "tests/modules/training/test_dpo_reference.py",
    "tests/modules/training/test_language_model_trainer.py",
    "tests/modules/training/test_loop.py",
    "tests/modules/training/test_memory.py",
    "tests/modules/training/test_resuming.py",
    "tests/modules/training/test_run_fn.py",
    "tests/modules/training/test_starting_point.py",
    "tests/pipeline/test_hostile_text.py",
    "tests/test_benchmarks.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what is slow, and puts it first, so that no process is left with it at the end."""
    strangers = [item.nodeid for item in items if "first_run" in item.fixturenames and not shares_the_run(item.nodeid)]
    assert not strangers, f"files with `first_run` must stand in SHARE_THE_RUN: {strangers}"
    gone = [file for file in (*SHARE_THE_RUN, *SLOW) if not (ROOT / file).is_file()]
    assert not gone, f"no such test file, named in tests/conftest.py: {gone}"
    for item in items:
        if item.nodeid.startswith(SLOW) or "checkout" in item.fixturenames:
            item.add_marker(pytest.mark.slow)
    slow_files = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (shared_place(item.nodeid), item.path not in slow_files))


def shared_place(nodeid: str) -> int:
    """Returns the place of a test's file in SHARE_THE_RUN; all other files come after these."""
    return next((place for place, file in enumerate(SHARE_THE_RUN) if nodeid.startswith(file)), len(SHARE_THE_RUN))


def shares_the_run(nodeid: str) -> bool:
    return shared_place(nodeid) < len(SHARE_THE_RUN)


class Scheduling(LoadFileScheduling):
    """By file, with SHARE_THE_RUN as if it were one file."""

    def _split_scope(self, nodeid: str) -> str:
        return "first_run" if shares_the_run(nodeid) else super()._split_scope(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    return Scheduling(config, log)


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    return topics_checkout(tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="session")
def first_run(checkout: Checkout) -> FinishedRun:
    return checkout.run()


@pytest.fixture(scope="session")
def stopped_run(first_run: FinishedRun, checkout: Checkout) -> FinishedRun:
    """A run whose data lacks a feature of its contract, and which would train one step more."""
    feature = 'feature { name: "language" type: BYTES presence { min_fraction: 1.0 min_count: 1 } }\n'
    with edited(checkout.folder / "schemas" / "text.pbtxt", None, feature):
        return checkout.run("--set", "training.steps=201")


@pytest.fixture(scope="session")
def release(first_run: FinishedRun) -> Path:
    assert first_run.run.release is not None, first_run.output
    return first_run.run.release
