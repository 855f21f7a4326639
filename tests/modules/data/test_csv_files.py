"""Files of separated values with any delimiter; the cures in the messages work."""

import re
from pathlib import Path
from typing import Any

import pytest

from modules.common.errors import InputError
from modules.data.documents import ReadCounts
from modules.data.file_documents import read_documents
from modules.data.source import DataSource


def texts(path: Path, counts: ReadCounts | None = None, **settings: Any) -> list[str]:
    source = DataSource(files=str(path), **settings)
    return [document.content for document in read_documents(str(path), source, counts=counts)]


@pytest.mark.parametrize(
    ("name", "delimiter", "settings"),
    [("a.csv", ",", {}), ("a.tsv", "\t", {}), ("a.csv", ";", {"delimiter": ";"}), ("a.tsv", "|", {"delimiter": "|"}),
     ("a.csv", "\t", {"delimiter": r"\t"})],
)  # fmt: skip
def test_a_delimiter_follows_from_the_name_or_is_set(
    tmp_path: Path, name: str, delimiter: str, settings: dict[str, str]
) -> None:
    lines = [delimiter.join(fields) for fields in (("id", "text"), ("1", "Two, too."), ("2", f'"a{delimiter}b"'))]
    quoted = [line.replace("Two, too.", '"Two, too."') for line in lines]
    (tmp_path / name).write_text("\n".join(quoted))
    assert texts(tmp_path / name, **settings) == ["Two, too.", f"a{delimiter}b"]


@pytest.mark.parametrize(
    ("name", "delimiter", "looks"),
    [("a.csv", ";", "';'"), ("a.csv", "\t", "a tab"), ("a.csv", "|", "'|'"), ("a.tsv", ",", "','")],
)
@pytest.mark.parametrize("kind", ["text", "instruction"])
def test_the_error_about_another_delimiter_names_the_setting_that_works(
    tmp_path: Path, kind: str, name: str, delimiter: str, looks: str
) -> None:
    columns = ("id", "text") if kind == "text" else ("prompt", "completion")
    (tmp_path / name).write_text(f"{delimiter.join(columns)}\n1{delimiter}One.\n")
    with pytest.raises(InputError, match=re.escape(f"the delimiter looks like {looks}. Set it with")) as caught:
        texts(tmp_path / name, kind=kind)
    assert repr(delimiter.join(columns)) in str(caught.value)
    found = re.search(r"`--set data\.delimiter='(.*)'`\.$", str(caught.value))
    assert found is not None
    assert texts(tmp_path / name, kind=kind, delimiter=found[1]) == ["One." if kind == "text" else "1\nOne."]


def test_a_missing_column_is_not_taken_for_a_delimiter(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,body\n1,a\n")
    with pytest.raises(InputError, match=r"header: there is no column 'text'\. It has: 'id', 'body'\. Set `text_col"):
        texts(tmp_path / "a.csv")


def test_a_row_with_other_fields_than_the_header_can_be_dropped(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('id,text\n1,"a\nb"\n2,c,d\n\n3,e\n')
    counts = ReadCounts()
    assert texts(tmp_path / "a.csv", counts, on_bad_row="drop") == ["a\nb", "e"]
    assert counts.dropped == {"bad_row_wrong_number_of_fields": 1}
    with pytest.raises(InputError, match=r"a\.csv, line 4: each row must have the header's 2 fields\. Received: 3"):
        texts(tmp_path / "a.csv")


@pytest.mark.parametrize("delimiter", ['"', "\n", ";;", ""])
def test_a_delimiter_is_one_character_and_no_quote(delimiter: str) -> None:
    with pytest.raises(ValueError, match="delimiter"):
        DataSource(files="a.csv", delimiter=delimiter)
