"""Text in any encoding is read as what it is, or refused with a cure that works when it is followed to the letter."""

import codecs
import gzip
import io
import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from modules.common.errors import InputError
from modules.data.encodings import DecodedFile, check_encoding
from modules.data.file_documents import read_documents
from modules.data.source import DataSource

ENGLISH = "“It’s 5 €,” she said – and left…\nHe didn’t answer.\n"
JAPANESE = "これは日本語の文章です。\n今日は天気がいいですね。\n"
CHINESE = "这是一个中文文本。今天天气很好。\n我们去公园散步。\n"
RUSSIAN = "Привет, мир! Это русский текст.\nОн про кошек и собак.\n"
FRENCH = "L’été à la plage, où l’œuvre naïve coûte cher.\nÇa va?\n"
MARKED = {
    "utf-8-sig": "utf-8-sig",
    "utf-16": "utf-16",
    "utf-32": "utf-32",
    "utf-16-be": "utf-16-be",
    "utf-32-be": "utf-32-be",
}
MARKS = {"utf-16-be": codecs.BOM_UTF16_BE, "utf-32-be": codecs.BOM_UTF32_BE}


def write(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


def in_format(name: str, text: str) -> str:
    """Returns the content of a file that holds one document."""
    if ".json" not in name and ".csv" not in name:
        return text
    if ".csv" in name:
        return f'text\n"{text}"\n'
    row = json.dumps({"text": text}, ensure_ascii=False)
    return f"{row}\n" if ".jsonl" in name else f"[{row}]"


def read(path: Path, encoding: str | None = None) -> str:
    """Returns the text of a file with one document."""
    source = DataSource(files=(str(path),), encoding=encoding)
    [document] = read_documents(str(path), source)
    return document.content


def refusal(path: Path, encoding: str | None = None) -> str:
    with pytest.raises(InputError, match=r"Received: ") as caught:
        read(path, encoding)
    assert str(path) in str(caught.value)
    return str(caught.value)


def proposed(message: str) -> str:
    """Returns the encoding that a message proposes, spelled as an argument of the command line."""
    _, override = shlex.split(re.findall("`(--set data.encoding=.*?)`", message)[0])
    return override.removeprefix("data.encoding=")


def follow(message: str, number: int = 0) -> None:
    """Runs a command that a message spells."""
    command = [found for found in re.findall("`(.*?)`", message) if " && mv " in found][number]
    subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], check=True)


def test_a_text_that_is_cut_into_parts_has_the_same_encoding(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", (FRENCH * 9).encode("cp1252"))
    source = DataSource(files=(str(path),), split_long_documents=100, encoding="cp1252")
    assert "".join(document.content for document in read_documents(str(path), source)) == FRENCH * 9


FORMATS = ["a.txt", "a.md", "a.jsonl", "a.json", "a.csv", "a.txt.gz", "a.jsonl.gz", "a.json.gz", "a.csv.gz"]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("encoding", MARKED)
def test_a_byte_order_mark_decides(tmp_path: Path, name: str, encoding: str) -> None:
    content = MARKS.get(encoding, b"") + in_format(name, ENGLISH).encode(MARKED[encoding])
    assert read(write(tmp_path, name, content)) == ENGLISH
    assert read(tmp_path / name, "cp1252") == ENGLISH


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (ENGLISH, "cp1252"),
        (FRENCH, "cp1252"),
        ("Déjà vu, à Paris.\n", "latin-1"),
        (RUSSIAN, "koi8-r"),
        (RUSSIAN, "cp1251"),
        (JAPANESE, "shift_jis"),
        (JAPANESE, "euc-jp"),
        (CHINESE, "gb18030"),
        (ENGLISH, "utf-16-le"),
        (RUSSIAN, "utf-16-le"),
        (CHINESE, "utf-16-be"),
        (RUSSIAN, "utf-32-le"),
    ],
)
def test_the_proposed_encoding_reads_the_text(tmp_path: Path, name: str, text: str, encoding: str) -> None:
    path = write(tmp_path, name, in_format(name, text).encode(encoding))
    message = refusal(path)
    assert any(line[:9] in message for line in text.split("\n")), message  # as it would read
    assert read(path, proposed(message)) == text


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"two \xe9\n", "two é\n"),
        (b"It\x92s", "It’s"),
        (b"caf\xe9", "café"),
        (b"x" * 2**21 + b" caf\xe9\n", "x" * 2**21 + " café\n"),
        (b"The end\x85\n" * 3, "The end…\n" * 3),
        (FRENCH.encode("cp1252") * 2**15, FRENCH * 2**15),
    ],
)
def test_few_bytes_beyond_ascii_are_windows_text(tmp_path: Path, content: bytes, expected: str) -> None:
    path = write(tmp_path, "a.txt", content)
    assert read(path, proposed(refusal(path))) == expected


@pytest.mark.parametrize("name", ["a b.txt", "a b.txt.gz"])
@pytest.mark.parametrize("text", ["Grüße, 世界", "x" * 2**20 + "é" + "x" * 2**18 + "世", "a\n" * 2**20 + "é世"])
def test_a_cut_file_is_mended_by_the_proposed_command(tmp_path: Path, name: str, text: str) -> None:
    path = write(tmp_path, name, text.encode()[:-1])
    follow(refusal(path))
    assert read(path) == text[:-1]


def test_a_cut_file_of_utf16_is_mended_by_the_proposed_command(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", ENGLISH.encode("utf-16")[:-1])
    message = refusal(path)
    assert "is not UTF-16-LE: line 2, byte " in message
    follow(message)
    assert read(path) == ENGLISH.removesuffix("\n")


def test_a_last_character_may_be_cut_or_of_windows(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", b"Welcome to the caf\xe9")
    message = refusal(path)
    assert read(path, proposed(message)) == "Welcome to the café"
    follow(message)
    assert read(path) == "Welcome to the caf"


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_lines_of_another_encoding_are_removed_by_the_proposed_command(tmp_path: Path, name: str) -> None:
    lines = ["café\n".encode(), b"caf\xe9\n", "naïve\n".encode(), b"plain\n", b"na\xefve\n", "é\n".encode()]
    path = write(tmp_path, name, b"".join(lines))
    message = refusal(path)
    assert "data.encoding" not in message  # it would garble the other lines
    follow(message)
    assert read(path) == "café\nnaïve\nplain\né\n"


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "shift_jis", "latin-1"])
@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_a_file_of_utf8_is_not_garbled_by_the_encoding_of_the_others(tmp_path: Path, name: str, encoding: str) -> None:
    path = write(tmp_path, name, f"{ENGLISH}é".encode())
    message = refusal(path, encoding)
    assert "If all files are UTF-8, remove `data.encoding`" in message
    assert read(path) == f"{ENGLISH}é"
    follow(message)
    assert read(path, encoding) == f"{ENGLISH}é"


def test_a_short_text_that_is_also_utf8_can_be_read(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", "小猫".encode("gb18030"))  # the bytes are valid UTF-8
    message = refusal(path, "gb18030")
    follow(message, 1)
    follow(message, 0)
    assert read(path, "gb18030") == "小猫"


def test_plain_ascii_reads_the_same_in_any_encoding(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", b"plain\n")
    for encoding in ("cp1252", "shift_jis", "utf-8", "ascii"):
        assert read(path, encoding) == "plain\n"


def test_null_bytes_in_a_text_of_utf8_are_only_counted(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", b"a\0b" + b"plain text " * 100)
    assert read(path).startswith("abplain text ")


def test_text_in_no_encoding_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", bytes(range(256)) * 4)
    assert "data.encoding=" in refusal(path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8", "shift_jis", "utf-32"])
@pytest.mark.parametrize("size_bytes", [1, 2, 3, 5, 2**20])
def test_chunks_of_any_size_give_the_same_text(encoding: str, size_bytes: int) -> None:
    file = DecodedFile(io.BytesIO(JAPANESE.encode(encoding)), "a.txt", encoding if encoding == "shift_jis" else None)
    assert "".join(iter(lambda: file.read(size_bytes), "")) == JAPANESE
    assert file.line == 3


def test_the_place_of_an_error_is_exact_in_a_long_file(tmp_path: Path) -> None:
    lines = "\n".join(f"line {number}" for number in range(300_000)).encode()
    path = write(tmp_path, "a.txt", lines + b"\n\xff\n")
    assert f"is not UTF-8: line 300001, byte {len(lines) + 1}. Received: 0xff" in refusal(path)


@pytest.mark.parametrize(
    ("name", "near"),
    [("cp1253x", "cp1253"), ("ansi", ""), ("", ""), ("\0", ""), ("base64", ""), ("undefined", ""), ("idna", "")],
)
def test_an_unknown_encoding_is_refused(name: str, near: str) -> None:
    with pytest.raises(ValueError, match="must be the name of a text encoding of Python") as caught:
        check_encoding(name)
    assert near in str(caught.value)


def test_an_encoding_is_for_files() -> None:
    with pytest.raises(ValueError, match="Remove `encoding`"):
        DataSource(tfds="imdb_reviews", encoding="cp1252")
