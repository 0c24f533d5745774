"""Files appear complete or not at all."""

import json
import os

import pytest

from chemkd_tf.atomic import atomic_write, write_json


@pytest.mark.parametrize("before", [None, "old\n"])
def test_an_exception_leaves_what_was_there_and_no_partial_file(tmp_path, before):
    path = tmp_path / "result.txt"
    if before is not None:
        path.write_text(before)
    with pytest.raises(RuntimeError, match="out of gas"), atomic_write(str(path)) as file:
        file.write("half")
        file.flush()
        raise RuntimeError("out of gas")
    assert os.listdir(tmp_path) == ([] if before is None else ["result.txt"])
    if before is not None:
        assert path.read_text() == before


def test_nothing_stands_under_the_final_name_while_it_is_written(tmp_path):
    path = tmp_path / "result.txt"
    with atomic_write(str(path)) as file:
        file.write("氯化氢\n")
        file.flush()
        assert not path.exists()
    assert path.read_bytes() == "氯化氢\n".encode()
    assert os.listdir(tmp_path) == ["result.txt"]


def test_bytes_and_line_ends_are_written_as_given(tmp_path):
    path = tmp_path / "folder" / "of" / "bytes"
    with atomic_write(str(path), "wb") as file:
        file.write(b"\x00\r\n\xff")
    assert path.read_bytes() == b"\x00\r\n\xff"
    with atomic_write(str(path)) as file:
        file.write("a\r\nb\n")
    assert path.read_bytes() == b"a\r\nb\n"


def test_json_is_readable_and_a_value_that_is_none_leaves_the_old_file(tmp_path):
    path = tmp_path / "value.json"
    write_json(str(path), {"name": "盐酸", "layers": [1, 3, 5]})
    text = path.read_text(encoding="utf-8")
    assert "盐酸" in text and text.endswith("}\n")
    assert json.loads(text) == {"name": "盐酸", "layers": [1, 3, 5]}
    with pytest.raises(TypeError):
        write_json(str(path), {"name": object()})
    assert path.read_text(encoding="utf-8") == text
    assert os.listdir(tmp_path) == ["value.json"]
