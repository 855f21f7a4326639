import hashlib
import platform
from pathlib import Path

from modules.report.environment import LOCK, describe_environment


def test_the_environment_has_versions_processors_and_the_hash_of_the_lock(tmp_path: Path) -> None:
    lock = tmp_path / "uv.lock"
    lock.write_text("numpy 2")
    facts = describe_environment(lock)
    assert facts["Python"] == platform.python_version()
    assert facts["TFX"] == "1.21.0"
    assert facts["uv.lock"] == f"sha256 {hashlib.sha256(b'numpy 2').hexdigest()}"
    assert int(facts["Processors"]) >= 1
    assert LOCK.is_file()


def test_a_missing_lock_is_reported(tmp_path: Path) -> None:
    assert describe_environment(tmp_path / "uv.lock")["uv.lock"] == "not found next to the code"
