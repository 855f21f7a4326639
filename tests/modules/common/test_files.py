from pathlib import Path

from modules.common.files import file_facts


def test_file_facts(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_facts(str(tmp_path / "file")) == {"size_bytes": 3, "sha256": sha256}
