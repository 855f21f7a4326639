"""Data sets of Hugging Face on disk are read; the commands that the errors about archives and folders name work."""

import json
import os
import re
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest

from modules.common.errors import InputError
from modules.data.corpus import check_source
from modules.data.file_documents import expand_files, read_documents
from modules.data.source import DataSource

ROWS = '{"text": "One."}\n{"text": "Two."}\n'
_COMMAND = re.compile(r"Unpack it with `([^`]*)`, and name the files in it with `--set (.*)`\.$")


def texts(pattern: str | Path) -> list[str]:
    source = DataSource(files=str(pattern))
    return [document.content for path in expand_files(source) for document in read_documents(path, source)]


def save_to_disk(folder: Path, *shards: list[str], **state: object) -> None:
    """Writes a folder as `datasets.Dataset.save_to_disk` does, with the cache of a `map` next to it."""
    folder.mkdir(parents=True)
    names = [f"data-{number:05d}-of-{len(shards):05d}.arrow" for number in range(len(shards))]
    for name, shard in zip([*names, "cache-1f1f.arrow"], [*shards, ["Cached."]], strict=True):
        table = pa.table({"id": range(len(shard)), "text": shard})
        with pa.OSFile(str(folder / name), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
    described = {"_data_files": [{"filename": name} for name in names], "_split": None, **state}
    (folder / "state.json").write_text(json.dumps(described))
    (folder / "dataset_info.json").write_text("{}")


class TestDatasets:
    def test_all_shards_of_a_data_set_are_read_and_no_cache(self, tmp_path):
        save_to_disk(tmp_path / "set", ["One.", "Two.", "Three."], ["Four."])
        assert texts(tmp_path / "set") == ["One.", "Two.", "Three.", "Four."]
        assert texts(f"{tmp_path}/set/") == texts(tmp_path / "set")
        check_source(DataSource(files=str(tmp_path / "set")))

    def test_all_splits_of_a_dictionary_of_data_sets_are_read_or_one_of_them(self, tmp_path):
        save_to_disk(tmp_path / "set" / "train", ["One."])
        save_to_disk(tmp_path / "set" / "test", ["Two."])
        (tmp_path / "set" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
        assert sorted(texts(tmp_path / "set")) == ["One.", "Two."]
        assert texts(tmp_path / "set" / "test") == ["Two."]

    def test_a_selection_of_rows_is_refused_with_the_cure(self, tmp_path):
        save_to_disk(tmp_path / "set", ["One."], _indices_files=[{"filename": "indices.arrow"}])
        with pytest.raises(InputError, match=r"a selection of rows .* `dataset\.flatten_indices\(\)\.save_to_disk"):
            texts(tmp_path / "set")

    @pytest.mark.parametrize(
        "content", ["{", "[]", "{}", '{"_data_files": [{"filename": "../x.arrow"}]}', '{"_data_files": []}']
    )
    def test_a_damaged_description_is_refused_and_the_cure_reads_the_files(self, tmp_path, content):
        save_to_disk(tmp_path / "set", ["One."])
        (tmp_path / "set" / "state.json").write_text(content)
        with pytest.raises(
            InputError, match=r"must have the content that .* or name its files: \S*\.arrow\.$"
        ) as caught:
            texts(tmp_path / "set")
        assert texts(str(caught.value).rpartition(" ")[2].removesuffix(".")) == ["One."]

    def test_a_missing_split_is_named(self, tmp_path):
        (tmp_path / "dataset_dict.json").write_text('{"splits": ["train"]}')
        with pytest.raises(InputError, match="without the split 'train' that it names"):
            texts(tmp_path)


class TestArchives:
    @pytest.mark.parametrize("name", ["a.zip", "a b.zip", "a.tar", "a.tar.gz", "a.tgz", "a.tar.xz"])
    def test_the_command_unpacks_the_archive_and_the_source_reads_the_files(self, tmp_path, name):
        (tmp_path / "rows.jsonl").write_text(ROWS)
        if name.endswith(".zip"):
            with zipfile.ZipFile(tmp_path / name, "w") as archive:
                archive.write(tmp_path / "rows.jsonl", "inner/rows.jsonl")
        else:
            with tarfile.open(
                tmp_path / name, f"w:{'' if name.endswith('.tar') else 'xz' if 'xz' in name else 'gz'}"
            ) as tar:
                tar.add(tmp_path / "rows.jsonl", "inner/rows.jsonl")
        with pytest.raises(InputError, match="must not be an archive of files") as caught:
            texts(tmp_path / name)
        found = _COMMAND.search(str(caught.value))
        assert found is not None
        subprocess.run(found[1], shell=True, check=True)
        setting = subprocess.run(f"printf %s {found[2]}", shell=True, check=True, capture_output=True, text=True).stdout
        assert texts(setting.removeprefix("data.source=")) == ["One.", "Two."]

    def test_a_damaged_archive_has_the_same_message(self, tmp_path):
        (tmp_path / "a.zip").write_bytes(b"PK")
        with pytest.raises(InputError, match=r"Unpack it with `unzip -q .*\*\*/\*\.jsonl"):
            texts(tmp_path / "a.zip")


class TestFolders:
    @pytest.mark.parametrize(
        ("name", "glob"), [("a.jsonl", "*.jsonl"), ("b/a.csv.gz", "**/*.csv.gz"), ("notes", "*.txt")]
    )
    def test_the_error_proposes_a_glob_of_the_files_inside(self, tmp_path, name, glob):
        (tmp_path / "set" / name).parent.mkdir(parents=True)
        (tmp_path / "set" / name).write_text("")
        with pytest.raises(InputError, match=r"A source names files, not a folder\. Received: ") as caught:
            texts(tmp_path / "set")
        assert str(caught.value).endswith(f"Write for example {os.path.join(tmp_path, 'set', glob)}.")
