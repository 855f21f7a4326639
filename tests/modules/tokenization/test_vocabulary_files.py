"""The files of a vocabulary, checked by eye and against the `tokenizers` library."""

import json
from pathlib import Path

import pytest
import tokenizers

from modules.common.errors import InputError
from modules.tokenization.vocabulary import END_OF_TEXT, Merge, Vocabulary, byte_characters
from modules.tokenization.vocabulary_files import (
    find_table,
    read_gpt2_files,
    read_table,
    read_tokenizer_json,
    table_text,
    write_table,
    write_token_bytes,
    write_tokenizer_folder,
)
from tests.toys import cloud_storage

# GPT-2's order of bytes starts with '!' (33): so 'a' (97) is 64, 'b' is 65, 'c' is 66.
A, B, C = 64, 65, 66
TOY = Vocabulary.from_merges([(A, B), (256, C), (A, A)])


def write_files(folder: Path, tokens: list[str], merges: str) -> tuple[Path, Path]:
    """Writes a vocabulary of the 256 bytes, `tokens` and <|endoftext|>, and the merges as they are."""
    names = [*byte_characters().values(), *tokens, END_OF_TEXT]
    (folder / "v.json").write_text(json.dumps({name: number for number, name in enumerate(names)}))
    (folder / "m.txt").write_text(merges, encoding="utf-8")
    return folder / "v.json", folder / "m.txt"


def test_a_table_has_rows_of_merges_bytes_and_end_of_text() -> None:
    rows = table_text(TOY).split("\n")[:-1]
    assert rows[0] == f"{A << 32 | B}\t256\tab"
    assert rows[1] == f"{256 << 32 | C}\t{1 << 32 | 257}\tabc"
    assert rows[3] == "-1\t188\t\x00"
    assert rows[3 + ord("a")] == "-98\t64\ta"
    # Parts of a row cannot stand in it, nor is half a character a text.
    assert rows[3 + ord("\n")] == "-11\t198\tno word -11"
    assert rows[3 + 0xE2] == "-227\t158\tno word -227"
    assert rows[-1] == "-257\t259\tno word -257"
    assert len(rows) == 3 + 256 + 1


def test_rows_of_frequent_words_follow_end_of_text() -> None:
    rows = table_text(TOY, {b"cab": [C, 256], b"a": [A], b" aa": [220, 258]}).split("\n")[:-1]
    assert rows[:260] == table_text(TOY).split("\n")[:-1]
    # A token of this vocabulary takes nine bits.
    assert rows[260:] == [
        "-258\t2\tno word -258",
        f"-259\t{-(C + 1 | 257 << 9)}\tcab",
        f"-260\t{-(221 | 259 << 9)}\t aa",
    ]


def test_a_token_whose_text_is_encoded_to_other_tokens_has_no_word() -> None:
    # "bc" is more urgent than "ab", so "abc" never becomes "ab" and "c", and token 258 never occurs.
    torn = Vocabulary.from_merges([(B, C), (A, B), (257, C)])
    assert torn.encode_word(b"abc") == [A, 256]
    assert [row.split("\t")[2] for row in table_text(torn).split("\n")[:3]] == ["bc", "ab", f"no word {257 << 32 | C}"]


def test_a_written_table_is_read_back(tmp_path: Path) -> None:
    write_table(TOY, tmp_path / "vocabulary.tsv")
    assert read_table(tmp_path / "vocabulary.tsv") == TOY


def test_a_written_folder_is_read_back(tmp_path: Path) -> None:
    folder = tmp_path / "tokenizer"
    write_tokenizer_folder(TOY, folder)
    assert (folder / "merges.txt").read_text() == "#version: 0.2\na b\nab c\na a\n"
    assert read_gpt2_files(folder / "vocabulary.json", folder / "merges.txt") == TOY


def test_the_library_tokenizers_loads_the_folder(tmp_path: Path) -> None:
    write_tokenizer_folder(TOY, tmp_path)
    reference = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert reference.encode("abcaaab").ids == [257, 258, 256]
    assert reference.get_vocab_size() == 260
    text = " é\x00🧑‍🚀\n\n  naïve"
    assert reference.decode(reference.encode(text).ids) == text


def test_a_text_cannot_inject_end_of_text(tmp_path: Path) -> None:
    write_tokenizer_folder(TOY, tmp_path)
    reference = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert reference.token_to_id(END_OF_TEXT) == 259
    assert len(reference.encode(END_OF_TEXT).ids) == len(END_OF_TEXT)
    assert reference.decode([A, 259, B], skip_special_tokens=True) == "a<|endoftext|>b"


def test_ids_may_be_in_any_order(tmp_path: Path) -> None:
    names = [END_OF_TEXT, "ab", *reversed(byte_characters().values())]
    (tmp_path / "v.json").write_text(json.dumps({name: number for number, name in enumerate(names)}))
    (tmp_path / "m.txt").write_text("a b\n")
    read = read_gpt2_files(tmp_path / "v.json", tmp_path / "m.txt")
    assert read.end_of_text_id == 0
    assert read.token_bytes()[:2] == [b"<|endoftext|>", b"ab"]
    assert read.merges == (Merge(257 - A, 257 - B, 1),)
    write_table(read, tmp_path / "t.tsv")
    assert read_table(tmp_path / "t.tsv") == read


@pytest.mark.parametrize(
    ("tokens", "merges", "message"),
    [
        (["ab"], "#version: 0.2\na b c\n", r"m\.txt, line 2: a merge must be two tokens .* Received: 'a b c'"),
        (["ab"], "#version: 0.2\na\n", r"m\.txt, line 2: a merge must be two tokens"),
        (["ab"], "#version: 0.2\na b\nb c\n", r"m\.txt, line 3: .* Received: 'bc', which is not"),
        (
            ["ab", "bc"],
            "a b\n",
            r"v\.json: must hold 256 bytes, one token for each of 1 merges .* 259",
        ),
        (["ab", "bc", "abc", "x!"], "a b\nb c\na bc\nab c\n", r"line 4: Every merge .* b'abc'.*Remove one"),
        (["abc", "ab"], "ab c\na b\n", r"m\.txt, line 1: A merge must join bytes and results of earlier merges"),
    ],
)
def test_an_error_in_the_merges_names_the_line(tmp_path: Path, tokens: list[str], merges: str, message: str) -> None:
    files = write_files(tmp_path, tokens, merges)
    with pytest.raises(InputError, match=message):
        read_gpt2_files(*files)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 0,\n "b": }', r"v\.json, line 2: Expecting value"),
        ("[1, 2]", "must be a JSON object that maps each token to its id"),
        ('{"a": "0"}', "must be a JSON object that maps each token to its id"),
        ('{"a": 0, "b": 0}', "ids must be 0 to 1, each once. Received: 1 repeated, the largest 0"),
        ('{"a": 0, "b": 2}', "ids must be 0 to 1, each once. Received: 0 repeated, the largest 2"),
        ('{"a": 0, "b": 1}', "must hold '!'. Use a byte-level vocabulary"),
        (b"\xff\xfe", "must be UTF-8"),
    ],
)
def test_an_error_in_the_json_names_the_file_and_the_cure(tmp_path: Path, text: str | bytes, message: str) -> None:
    (tmp_path / "v.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    (tmp_path / "m.txt").write_text("")
    with pytest.raises(InputError, match=message):
        read_gpt2_files(tmp_path / "v.json", tmp_path / "m.txt")


def test_merges_are_read_without_header_and_with_empty_lines_at_the_end(tmp_path: Path) -> None:
    files = write_files(tmp_path, ["ab", "##"], "a b\n# #\n\n")
    assert read_gpt2_files(*files).merges == (Merge(A, B, 256), Merge(2, 2, 257))


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no\.json: cannot be read \(No such file"):
        read_gpt2_files(tmp_path / "no.json", tmp_path / "no.txt")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("-1\t188\t\x00\n", "", "row with key -1 is missing"),
        ("-1\t188\t", "-1 188\t", r"line 4: a row must be two integers and a word .* Received: '-1 188\\t"),
        (f"{A << 32 | B}\t256\tab\n", "", "the merge of rank 0 is missing"),
        ("-1\t188\t", "-1\t187\t", "ids must be 0 to 259, each once. Received: 259 different ids"),
    ],
)
def test_a_broken_table_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    (tmp_path / "t.tsv").write_text(table_text(TOY).replace(old, new, 1))
    with pytest.raises(InputError, match=message):
        read_table(tmp_path / "t.tsv")


def test_the_table_is_found_in_a_transform_graph(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"transform_fn/assets/vocabulary\.tsv. Received"):
        find_table(tmp_path)
    assets = tmp_path / "transform_fn" / "assets"
    assets.mkdir(parents=True)
    write_table(TOY, assets / "vocabulary.tsv")
    assert read_table(find_table(tmp_path)) == TOY
    assert find_table("gs://bucket/graph") == "gs://bucket/graph/transform_fn/assets/vocabulary.tsv"


def test_a_written_tokenizer_json_is_read_back(tmp_path: Path) -> None:
    write_tokenizer_folder(TOY, tmp_path)
    path = tmp_path / "tokenizer.json"
    assert read_tokenizer_json(path) == TOY
    # The `tokenizers` library writes pairs from version 0.20 on.
    tokenizer = json.loads(path.read_text())
    tokenizer["model"]["merges"] = [["a", "b"], ["ab", "c"], ["a", "a"]]
    path.write_text(json.dumps(tokenizer))
    assert read_tokenizer_json(path) == TOY


@pytest.mark.parametrize(
    ("merges", "problem"),
    [
        (
            ["a b", "ab c d"],
            r"model.merges, number 2: a merge must be two tokens with one space between. Received: 'ab c d'",
        ),
        (["a b", ["b", "c"]], r"model.merges, number 2: every token must be in model.vocab. Received: 'bc', which is"),
        (["a b"], "model.vocab: must hold 256 bytes, one token for each of 1 merges of model.merges"),
        (["ab c", "a b", "a a"], "model.merges, number 1: A merge must join bytes and results of earlier merges only"),
    ],
)
def test_an_error_in_a_tokenizer_json_names_the_place(tmp_path: Path, merges: list, problem: str) -> None:
    write_tokenizer_folder(TOY, tmp_path)
    path = tmp_path / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    tokenizer["model"]["merges"] = merges
    path.write_text(json.dumps(tokenizer))
    with pytest.raises(InputError, match=rf"tokenizer\.json: must be GPT-2's byte-level BPE, .* Received: {problem}"):
        read_tokenizer_json(path)


def test_files_may_be_in_cloud_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud_storage.mount(tmp_path / "bucket", monkeypatch)
    folder = f"{cloud_storage.BUCKET}/tokenizer"
    write_tokenizer_folder(TOY, folder)
    assert read_gpt2_files(f"{folder}/vocabulary.json", f"{folder}/merges.txt") == TOY
    assert read_tokenizer_json(f"{folder}/tokenizer.json") == TOY
    write_table(TOY, f"{folder}/vocabulary.tsv")
    assert read_table(f"{folder}/vocabulary.tsv") == TOY
    write_token_bytes(TOY, f"{folder}/token_bytes.txt")
    assert (tmp_path / "bucket" / "tokenizer" / "token_bytes.txt").is_file()
    assert cloud_storage.stray_files(tmp_path / "bucket") == []
    with pytest.raises(InputError, match=r"gs://bucket/tokenizer/no\.tsv: cannot be read \(.*No such file"):
        read_table(f"{folder}/no.tsv")
