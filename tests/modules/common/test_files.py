from pathlib import Path

from modules.common.files import file_facts, hash_settings


def test_file_facts_are_hash_and_size(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_facts(str(tmp_path / "file")) == {"size_bytes": 3, "sha256": sha256}


def test_the_hash_of_settings_depends_on_values_and_on_the_content_of_files_and_folders(tmp_path: Path) -> None:
    folder = tmp_path / "preset"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    settings = {"merges": str(folder / "config.json"), "preset": str(folder)}
    before = hash_settings(settings)
    assert hash_settings(dict(reversed(settings.items()))) == before
    (folder / "config.json").write_text("{ }")
    assert hash_settings(settings) != before
    # sha256 of b"preset=gpt2_base_en;": a name that is not a path on this machine
    name = "5821bbe7c0e9e8f4fdd0deb178136d892a045389bff60a895511d92b39b52f76"
    assert hash_settings({"preset": "gpt2_base_en"}) == name
