"""Reading articles: every format, compressed or not, and every fault named with file and line."""

import csv
import gzip
import io
import json
import os

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from chemkd_tf.cleaning.documents import CorpusReader, find_inputs
from chemkd_tf.errors import InputError

TEXTS = ["盐酸是强酸。\n它有腐蚀性。", '他说："好，"', "第三篇,有逗号\n\n和空行"]


def read(path, **settings) -> list[tuple[int, str]]:
    return [(document.line, document.text) for document in CorpusReader([str(path)], **settings)]


def as_jsonl(texts: list[str], ascii_only: bool = False) -> bytes:
    lines = [json.dumps({"id": number, "text": text}, ensure_ascii=ascii_only) for number, text in enumerate(texts)]
    return ("\n".join(lines) + "\n").encode()


def as_csv(texts: list[str]) -> bytes:
    file = io.StringIO(newline="")
    csv.writer(file).writerows([["id", "text"], *enumerate(texts)])
    return file.getvalue().encode()


PACK = {"": lambda data: data, ".gz": gzip.compress, ".zst": lambda data: zstandard.ZstdCompressor().compress(data)}


@pytest.mark.parametrize("suffix", PACK)
def test_records_come_back_as_they_were_written(tmp_path, suffix):
    for name, data in (("a.jsonl", as_jsonl(TEXTS)), ("b.ndjson", as_jsonl(TEXTS, True)), ("c.csv", as_csv(TEXTS))):
        path = tmp_path / (name + suffix)
        path.write_bytes(PACK[suffix](data))
        reader = CorpusReader([str(path)])
        assert [document.text for document in reader] == TEXTS
        assert reader.bytes_read == len(data)
        assert reader.total_bytes == reader.position() == path.stat().st_size
    path = tmp_path / ("d.tsv" + suffix)
    path.write_bytes(PACK[suffix]('id\ttext\n1\t他说："好\n\n2\t水\n'.encode()))
    assert read(path) == [(2, '他说："好'), (4, "水")]


@pytest.mark.parametrize("suffix", PACK)
def test_empty_lines_end_the_articles_of_a_text_file(tmp_path, suffix):
    path = tmp_path / ("a.txt" + suffix)
    path.write_bytes(PACK[suffix]("\ufeff\n甲\n乙\r\n \t\n\n丙".encode()))
    assert read(path) == [(2, "甲\n乙\r\n"), (6, "丙")]
    assert read(path, one_article_per_line=True) == [(2, "甲\n"), (3, "乙\r\n"), (6, "丙")]


def test_the_lines_of_records_are_those_of_an_editor(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('text,id\n"一\n二",1\n\n三,2\n', encoding="utf-8")
    assert read(path) == [(2, "一\n二"), (5, "三")]
    (tmp_path / "a.jsonl").write_text('{"text": "一"}\n\n{"text": null}\n', encoding="utf-8")
    assert read(tmp_path / "a.jsonl") == [(1, "一"), (3, "")]


def test_files_without_a_telling_name_are_told_by_their_first_bytes(tmp_path):
    for data, expected in ((as_jsonl(TEXTS), TEXTS), ("水\n".encode(), ["水\n"])):
        for pack in PACK.values():
            path = tmp_path / "part-00000"
            path.write_bytes(pack(data))
            assert [text for _, text in read(path)] == expected
    path.write_bytes(as_csv(TEXTS))
    assert [text for _, text in read(path, input_format="csv")] == TEXTS


def test_several_files_are_read_one_after_another(tmp_path):
    (tmp_path / "a.txt").write_text("甲", encoding="utf-8")
    (tmp_path / "b.txt").write_bytes(b"")
    (tmp_path / "c.jsonl").write_bytes(as_jsonl(["乙"]))
    reader = CorpusReader(find_inputs(f"{tmp_path}/*"))
    assert [(os.path.basename(document.path), document.text) for document in reader] == [
        ("a.txt", "甲"),
        ("c.jsonl", "乙"),
    ]
    assert reader.empty_files == [str(tmp_path / "b.txt")]


def test_gzip_members_and_zstandard_frames_that_follow_each_other_are_one_file(tmp_path):
    for suffix in (".gz", ".zst"):
        path = tmp_path / ("a.txt" + suffix)
        path.write_bytes(b"".join(PACK[suffix](f"{number}\n\n".encode()) for number in range(50)))
        assert [text for _, text in read(path)] == [f"{number}\n" for number in range(50)]


def test_an_article_without_end_is_divided_between_lines(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("一二三四五\n" * 100, encoding="utf-8")
    reader = CorpusReader([str(path)], max_article_chars=60)
    articles = list(reader)
    assert [document.text for document in articles] == ["一二三四五\n" * 10] * 10 and reader.divided == 9
    assert [document.line for document in articles] == list(range(1, 100, 10))


def test_a_field_may_be_longer_than_the_csv_module_likes(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(as_csv(["酸" * 300_000]))
    assert read(path) == [(2, "酸" * 300_000)]


@settings(max_examples=50, deadline=None)
@given(
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=20), max_size=5)
)
def test_any_text_survives_jsonl_and_csv(tmp_path_factory, texts):
    folder = tmp_path_factory.mktemp("any")
    (folder / "a.jsonl").write_bytes(as_jsonl(texts))
    assert [text for _, text in read(folder / "a.jsonl")] == texts
    (folder / "a.csv").write_bytes(as_csv(texts))
    assert [text for _, text in read(folder / "a.csv")] == texts


def test_invalid_utf8_is_refused_or_dropped_or_replaced(tmp_path):
    cases = {
        "a.txt": "甲\n\n乙\n".encode() + b"\xff\n\n" + "丙\n".encode(),
        "a.jsonl": b'{"text": "\xe7\x94\xb2"}\n\n{"text": "\xff"}\n\n{"text": "\xe4\xb8\x99"}\n',
        "a.csv": b'text\n"\n\xff"\n\xe4\xb8\x99\n',
        "b.jsonl": b'{"text": ""}\n\n{"text": "\\udc80"}\n{"text": "\xe4\xb8\x99"}\n',
    }
    for name, data in cases.items():
        path = tmp_path / name
        path.write_bytes(data)
        fault = "half a surrogate pair" if name == "b.jsonl" else "not UTF-8 .byte 0xff at position"
        where = "4" if name == "a.txt" else "3"
        with pytest.raises(InputError, match=rf"{name}:{where}: {fault}.*--invalid_utf8"):
            read(path)
        dropped = list(CorpusReader([str(path)], invalid_utf8="drop_article"))
        assert [document.is_valid for document in dropped[-2:]] == [False, True] and dropped[-1].text.strip() == "丙"
        replaced = list(CorpusReader([str(path)], invalid_utf8="replace"))
        assert all(document.is_valid for document in replaced) and len(replaced) == len(dropped)
        assert replaced[-2].text.strip()[-1] in "\ufffd?"


FAULTS = {
    "a.jsonl": [
        (b'{"text": "a"}\n{"text": \n', r"a\.jsonl:2: not JSON"),
        (b'\n["a"]\n', r"a\.jsonl:2: '\[\"a\"\]' is no JSON object"),
        (b'{"body": "a", "id": 1}\n', r"a\.jsonl:1: no field 'text' \(found 'body', 'id'\); name it with --text_field"),
        (b'{"text": 5}\n', r"a\.jsonl:1: field 'text' is '5', a text is expected"),
        (b"[" * 100_000, r"a\.jsonl:1: not JSON"),
    ],
    "a.csv": [
        (b"id,body\n1,a\n", r"a\.csv:1: the header has no column 'text' \(found 'id', 'body'\)"),
        (b"id,text\n1,a\n2\n", r"a\.csv:3: 1 columns, 'text' is number 2"),
        (b'id,text\n1,a\n2,"never\nclosed\n', r"a\.csv:3: not CSV"),
    ],
    "a.txt": [(b"\xff\xfe\x34\x12", r"a\.txt: UTF-16"), (b"\x1f\x8b\x08", r"a\.txt: the compressed file is truncated")],
    "a.txt.gz": [
        (gzip.compress(os.urandom(5000).hex().encode())[:-9], r"a\.txt\.gz: the compressed file is truncated"),
        (b"plain text", r"a\.txt\.gz: can't be read \(Not a gzipped file"),
    ],
    "a.txt.zst": [
        (zstandard.ZstdCompressor().compress(os.urandom(5000))[:-9], r"a\.txt\.zst: the compressed file is truncated"),
        (b"plain text", r"a\.txt\.zst: damaged, or not Zstandard"),
    ],
}


@pytest.mark.parametrize(("name", "data", "message"), [(name, *fault) for name in FAULTS for fault in FAULTS[name]])
def test_a_fault_is_named_with_file_and_line(tmp_path, name, data, message):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(InputError, match=message) as caught:
        read(path, invalid_utf8="replace")
    assert "\n" not in str(caught.value)


def test_a_truncated_file_gives_its_whole_lines_before_it_fails(tmp_path):
    text = "".join(f"{number} {os.urandom(20).hex()}\n\n" for number in range(5000))
    for suffix in (".gz", ".zst"):
        path = tmp_path / ("a.txt" + suffix)
        path.write_bytes(PACK[suffix](text.encode())[:-5])
        seen = []
        with pytest.raises(InputError, match="truncated or damaged behind line"):
            seen.extend(document.text for document in CorpusReader([str(path)]))
        assert seen == [] or text.startswith(seen[0])


def test_patterns_that_name_no_file_are_refused(tmp_path):
    with pytest.raises(InputError, match="is a folder; name its files"):
        find_inputs(str(tmp_path))
    with pytest.raises(InputError, match="no file matches"):
        find_inputs(str(tmp_path / "*.txt"))
    with pytest.raises(InputError, match="stands alone"):
        find_inputs("-,a.txt")
    assert find_inputs("-") == ["-"]
