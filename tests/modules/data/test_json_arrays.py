"""The items of a JSON array are those that Python's own parser finds, wherever the pieces of the file end."""

import io
import json

import pytest

from modules.common.errors import InputError
from modules.data import json_arrays

ITEMS = [{"a": 1.5, "b": [{}, None], "ä\u20ac": 'x"\\\n'}, {}, {"c": "😀" * 5, "d": {"e": True}}]


def read(content: bytes) -> list:
    return [item for _, item in json_arrays.read_items(io.BytesIO(content), "a.json")]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("read_bytes", [1, 3, 7, 2**20])
def test_items_are_those_of_the_whole_file(monkeypatch: pytest.MonkeyPatch, read_bytes: int, indent: int) -> None:
    monkeypatch.setattr(json_arrays, "_READ_BYTES", read_bytes)
    monkeypatch.setattr(json_arrays, "_MAX_READ_BYTES", read_bytes)
    for escaped in (True, False):
        text = json.dumps(ITEMS, indent=indent, ensure_ascii=escaped)
        assert read(b"\xef\xbb\xbf \n" + text.encode() + b"\n\n") == ITEMS
    assert read(b"[ ]") == []


@pytest.mark.parametrize("read_bytes", [1, 2**20])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"a\.json: a \.json file must hold a list of objects\. Received: \. Put"),
        (b'{"a": 1}\n{"a": 2}', r"(?s)must hold a list of objects\. .* or name the file \.jsonl if each line is one"),
        (b'[{"a": 1},\n]', r"not valid JSON \(Expecting value in line 2\)"),
        (b'[{"a": 1}\n\n{"a": 2}]', r"not valid JSON \(Expecting ',' delimiter in line 3\)"),
        (b'[{"a": 1}]\n7', r"not valid JSON \(Extra data in line 2\)"),
        (b'[{"a": 1}', r"not valid JSON \(Expecting ',' delimiter in line 1\)"),
        (b'[{"a":\n\n 1', r"not valid JSON \(Expecting ',' delimiter in line 3\)"),
        (b'[{"a": ' + b"7" * 5000 + b"}]", r"not valid JSON \(Exceeds the limit \(4300 digits\).*in line 1\)"),
        (b'[{"a": "\xc3"}]', r"a\.json is not UTF-8: line 1, byte 8\. Received: 0xc3 \(invalid continuation byte\)"),
        (b'[{"a": "\xe2\x82', r"a\.json is not UTF-8: line 1, byte 8\. Received: 0xe2 \(unexpected end of data\)"),
    ],
)
def test_a_fault_is_named_with_its_line(
    monkeypatch: pytest.MonkeyPatch, content: bytes, message: str, read_bytes: int
) -> None:
    monkeypatch.setattr(json_arrays, "_READ_BYTES", read_bytes)
    monkeypatch.setattr(json_arrays, "_MAX_READ_BYTES", read_bytes)
    with pytest.raises(InputError, match=message):
        read(content)
