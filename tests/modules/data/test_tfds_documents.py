"""Documents are read from TFDS datasets: from a tiny dataset defined here, and from the project's own."""

import pytest
import tensorflow_datasets as tfds

from modules.common.errors import InputError
from modules.data import corpus, tfds_documents
from modules.data.bad_rows import check_bad_rows
from modules.data.documents import Document, ReadCounts
from modules.data.python_documentation import EnvironmentConfig, PythonDocumentation
from modules.data.source import Corpus, DataSource


class TinyRhymes(tfds.core.GeneratorBasedBuilder):
    """A dataset that TFDS finds as `tiny_rhymes`, because the module of its class is imported."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {"text": tfds.features.Text(), "stars": tfds.features.ClassLabel(num_classes=5)}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(5), "test": self._generate_examples(1)}

    def _generate_examples(self, number):
        for index in range(number):
            yield index, {"text": f"Rhyme {index}\x00" if index < 4 else " ", "stars": index}


class Unreachable(TinyRhymes):
    """A dataset whose server does not answer."""

    def _split_generators(self, dl_manager):
        raise ConnectionError("Name or service not known")


class TinyQuestions(TinyRhymes):
    """A dataset of rows with the columns of instructions and of preferences."""

    ROWS = (("Sum of 1 and 2?", "3", "4\x00"), ("Sum of 2 and 2?", "4", "4"))

    def _info(self):
        names = ("instruction", "output", "chosen", "rejected")
        features = {name: tfds.features.Text() for name in names} | {"level": tfds.features.ClassLabel(num_classes=2)}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for index, (prompt, right, wrong) in enumerate(self.ROWS):
            row = {"instruction": prompt, "output": right, "chosen": right, "rejected": wrong}
            yield index, {**row, "level": index % 2}


class TestByKind:
    def test_rows_of_instructions_are_read_as_from_files(self, tmp_path):
        source = DataSource.from_string("tfds:tiny_questions", kind="instruction", template="chat")
        documents = [
            document
            for piece in corpus.plan(Corpus(sources=(source,)), str(tmp_path))
            for document in corpus.read(piece, ReadCounts())
        ]
        assert sorted(document.features["completion"] for document in documents) == [("3",), ("4",)]
        assert "Sum of 1 and 2?\n3" in [document.content for document in documents]
        assert {document.source for document in documents} == {"tiny_questions/train"}
        assert documents[0].features["prompt"][0].startswith("User:\nSum of ")

    def test_pairs_without_a_preference_are_dropped_and_counted(self, tmp_path):
        source = DataSource.from_string("tfds:tiny_questions", kind="preference", template="plain")
        counts = ReadCounts()
        (document,) = [
            found
            for piece in corpus.plan(Corpus(sources=(source,)), str(tmp_path))
            for found in corpus.read(piece, counts)
        ]
        assert document.features == {"prompt": ("Sum of 1 and 2?\n",), "chosen": ("3",), "rejected": ("4",)}
        assert counts == ReadCounts(dropped={"no_preference": 1}, changed={"control_characters_removed": 1})

    def test_a_row_without_an_answer_stops_or_is_dropped(self, tmp_path, monkeypatch):
        monkeypatch.setattr(TinyQuestions, "ROWS", (*TinyQuestions.ROWS, ("Sum of 3 and 2?", " ", "5")))
        counts = ReadCounts()
        source = DataSource.from_string("tfds:tiny_questions", kind="instruction", on_bad_row="stop")
        (piece,) = corpus.plan(Corpus(sources=(source,)), str(tmp_path))
        assert len(list(corpus.read(piece, counts))) == 2
        with pytest.raises(InputError, match=r"^tfds:tiny_questions, train.*, row \d: every prompt needs an answer"):
            check_bad_rows(counts.bad_rows)
        counts = ReadCounts()
        source = DataSource.from_string("tfds:tiny_questions", kind="instruction", on_bad_row="drop")
        (piece,) = corpus.plan(Corpus(sources=(source,)), str(tmp_path))
        assert len(list(corpus.read(piece, counts, str(tmp_path / "rejected.jsonl")))) == 2
        assert counts.dropped == {"bad_row_empty_completion": 1}
        assert '"reason": "empty_completion"' in (tmp_path / "rejected.jsonl").read_text()

    @pytest.mark.parametrize(
        ("kind", "message"),
        [
            ("instruction", r"^tfds:tiny_rhymes: a row of instructions has .* Received: 'text', 'stars'"),
            ("preference", r"^tfds:tiny_rhymes: there is no column 'prompt'\. It has: 'text', 'stars'"),
        ],
    )
    def test_missing_columns_are_named_before_anything_is_prepared(self, tmp_path, kind, message):
        source = DataSource(tfds="tiny_rhymes", kind=kind)
        with pytest.raises(InputError, match=message):
            corpus.check_source(source, data_directory=str(tmp_path))
        assert not list(tmp_path.iterdir())


class TestByName:
    def test_all_splits_are_read_in_slices(self, tmp_path, monkeypatch):
        monkeypatch.setattr(tfds_documents, "EXAMPLES_PER_SLICE", 2)
        source = DataSource.from_string("tfds:tiny_rhymes")
        pieces = corpus.plan(Corpus(sources=(source,)), str(tmp_path))
        assert [piece.tfds_slice for piece in pieces] == ["test[0:1]", "train[0:2]", "train[2:4]", "train[4:5]"]
        counts = ReadCounts()
        documents = [document for piece in pieces for document in corpus.read(piece, counts)]
        assert Document.of_text("Rhyme 0", source="tiny_rhymes/test") in documents
        texts = sorted(document.content for document in documents)
        assert texts == ["Rhyme 0", "Rhyme 0", "Rhyme 1", "Rhyme 2", "Rhyme 3"]
        assert counts == ReadCounts(dropped={"empty": 1}, changed={"control_characters_removed": 5})

    def test_a_truncated_shard_is_named(self, tmp_path):
        source = DataSource(tfds="tiny_rhymes", tfds_splits=("train",))
        builder = tfds_documents.prepare(source, str(tmp_path))
        (shard,) = [path for path in builder.data_path.iterdir() if "train.tfrecord" in path.name]
        shard.write_bytes(shard.read_bytes()[:-5])
        with pytest.raises(
            InputError, match=r"tiny_rhymes, train\[0:5\]: a file in .*1\.0\.0 is damaged .*Remove that"
        ):
            list(tfds_documents.read_slice(source, str(tmp_path), "train[0:5]"))

    def test_only_the_named_splits_are_read(self, tmp_path):
        source = DataSource(tfds="tiny_rhymes", tfds_splits=("test",))
        builder = tfds_documents.prepare(source, str(tmp_path))
        assert tfds_documents.slices(source, builder) == [("test[0:1]", 1)]

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            (
                {"tfds": "imdb_review"},
                r"knows no dataset of this name\. Received: 'imdb_review'\. Did you mean imdb_rev",
            ),
            ({"tfds": "tiny_rhymes/large"}, r"cannot build the dataset 'tiny_rhymes/large'|knows no dataset"),
            ({"tfds": "tiny_rhymes:9.9.9"}, r"cannot build the dataset 'tiny_rhymes:9\.9\.9'|knows no dataset"),
            ({"tfds": "unreachable"}, r"'unreachable' could not be downloaded.*Name or service not known"),
            ({"tfds": "tiny_rhymes", "tfds_splits": ["dev"]}, r"has no split 'dev'\. Its splits: test, train\."),
            ({"tfds": "tiny_rhymes", "text_column": "stars"}, r"feature 'stars' must .* Text features: text\."),
        ],
    )
    def test_a_fault_is_named_with_its_cure(self, tmp_path, settings, message):
        with pytest.raises(InputError, match=message):
            tfds_documents.prepare(DataSource(**settings), str(tmp_path))


def test_a_missing_network_is_reported_at_once(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", fail)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    with pytest.raises(InputError, match=r"'imdb_reviews/plain_text' could not be .* connection to ai\.stanford\.edu"):
        corpus.check_source(DataSource(tfds="imdb_reviews/plain_text"), data_directory=str(tmp_path))
    assert not list(tmp_path.iterdir())


class TestPythonDocumentation:
    def documents(self, name, kind, tmp_path, monkeypatch):
        monkeypatch.setattr(PythonDocumentation, "__init__", _with_packages(("json", "unittest")))
        source = DataSource.from_string(f"tfds:{name}", kind=kind, template="plain")
        pieces = corpus.plan(Corpus(sources=(source,)), str(tmp_path))
        documents = [document for piece in pieces for document in corpus.read(piece, ReadCounts())]
        assert {document.source for document in documents} == {"json", "unittest"}
        assert (tmp_path / name / EnvironmentConfig.of(("json", "unittest")).name / "1.0.0").is_dir()
        return documents

    def test_the_documentation_of_json_is_prepared_and_read_back(self, tmp_path, monkeypatch):
        documents = self.documents("python_documentation", "text", tmp_path, monkeypatch)
        assert any(
            document.content.startswith("Serialize ``obj`` to a JSON formatted ``str``.") for document in documents
        )
        assert not [document for document in documents if "\n    Serialize" in document.content]

    def test_instructions_are_prepared_and_read_back(self, tmp_path, monkeypatch):
        documents = self.documents("python_instructions", "instruction", tmp_path, monkeypatch)
        answers = {document.features["prompt"][0]: document.features["completion"][0] for document in documents}
        assert answers["What does `json.dumps` do?\n"] == "Serialize `obj` to a JSON formatted `str`."

    def test_preferences_are_prepared_and_read_back(self, tmp_path, monkeypatch):
        documents = self.documents("python_preferences", "preference", tmp_path, monkeypatch)
        chosen = {document.features["prompt"][0]: document.features["chosen"][0] for document in documents}
        assert chosen["What does `json.dumps` do?\n"] == "Serialize `obj` to a JSON formatted `str`."


def _with_packages(packages):
    original = PythonDocumentation.__init__

    def initialize(self, *, config=None, **settings):
        original(self, config=EnvironmentConfig.of(packages), **settings)

    return initialize
