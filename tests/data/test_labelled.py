"""Labelled files: three formats, the same texts, and every fault with its file and line."""

import csv
import json

import pytest

from chemkd_tf.data.labelled import LabelledTexts, find_split, label_ids, read_labelled, read_texts
from chemkd_tf.errors import InputError

ROWS = [
    ("负责反应釜的检修", "设备"),
    ("监测废水，填报台账", "环保"),
    ('他说："停车"，然后检修', "安全"),
    ("pH值为7.0 的 H2SO4", "分析,质检"),
    ("重复的文本", "设备"),
]


def write(path, content: str | bytes):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def as_tsv(rows, ending="\n"):
    return "".join(f"{text}\t{label}{ending}" for text, label in rows)


def as_csv(rows, ending="\n"):
    quoted = (f'"{text.replace(chr(34), chr(34) * 2)}","{label}"' for text, label in rows)
    return ending.join(["text,label", *quoted, ""])


def as_jsonl(rows, ending="\n"):
    return "".join(json.dumps({"label": label, "text": text}, ensure_ascii=False) + ending for text, label in rows)


WRITERS = {"tsv": as_tsv, "csv": as_csv, "jsonl": as_jsonl}
formats = pytest.mark.parametrize("extension", WRITERS)


@formats
@pytest.mark.parametrize("ending", ["\n", "\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte-order mark"])
def test_every_format_gives_the_same_texts_and_labels(tmp_path, extension, ending, mark):
    path = write(tmp_path / f"train.{extension}", mark + WRITERS[extension](ROWS, ending).encode())
    split = read_labelled(path)
    assert list(zip(split.texts, split.labels, strict=True)) == ROWS
    assert split.path == path
    first = 2 if extension == "csv" else 1
    assert split.lines == list(range(first, first + len(ROWS)))
    assert list(read_texts(path)) == split.texts


@formats
def test_a_last_line_without_its_end_counts(tmp_path, extension):
    path = write(tmp_path / f"train.{extension}", WRITERS[extension](ROWS).rstrip("\n"))
    assert read_labelled(path).texts == [text for text, _ in ROWS]


@pytest.mark.parametrize("header", ["text\tlabel", "Text\tLabel", "\ufefftext\tlabel"])
def test_a_header_line_of_a_tsv_is_no_text(tmp_path, header):
    path = write(tmp_path / "train.tsv", f"{header}\r\n" + as_tsv(ROWS))
    split = read_labelled(path)
    assert split.texts == [text for text, _ in ROWS]
    assert split.lines[0] == 2
    assert list(read_texts(path)) == split.texts


def test_only_the_first_line_of_a_tsv_can_be_a_header(tmp_path):
    split = read_labelled(write(tmp_path / "train.tsv", "酸\t甲\ntext\tlabel\n"))
    assert (split.texts, split.labels) == (["酸", "text"], ["甲", "label"])


def test_the_label_of_a_tsv_follows_its_last_tab(tmp_path):
    split = read_labelled(write(tmp_path / "train.tsv", "酸\t碱\t 甲 \n\t盐\t乙\n"))
    assert (split.texts, split.labels) == (["酸\t碱", "\t盐"], ["甲", "乙"])


def test_empty_lines_are_passed_over_and_counted(tmp_path):
    split = read_labelled(write(tmp_path / "train.tsv", "\n酸\t甲\n \t \n\r\n碱\t乙\n"))
    assert (split.texts, split.lines) == (["酸", "碱"], [2, 5])
    split = read_labelled(write(tmp_path / "train.jsonl", '\n{"text": "酸", "label": "甲"}\n\n'))
    assert (split.texts, split.lines) == (["酸"], [2])


def test_a_quoted_line_break_of_a_csv_stays_in_its_text(tmp_path):
    path = write(tmp_path / "train.csv", 'label,note,text\n甲,x,"第一行\n第二行"\n"乙",y,"说""好"""\n')
    split = read_labelled(path)
    assert (split.texts, split.labels) == (["第一行\n第二行", '说"好"'], ["甲", "乙"])
    with open(path, newline="", encoding="utf-8") as file:
        assert split.texts == [row["text"] for row in csv.DictReader(file)]


def test_numbers_in_jsonl_become_labels(tmp_path):
    split = read_labelled(write(tmp_path / "train.jsonl", '{"text": "酸", "label": 0}\n{"text": 7, "label": "1"}\n'))
    assert (split.texts, split.labels) == (["酸", "7"], ["0", "1"])


def test_texts_to_classify_need_no_label(tmp_path):
    assert list(read_texts(write(tmp_path / "a.txt", "酸\t碱\r\n\n盐"))) == ["酸\t碱", "", "盐"]
    assert list(read_texts(write(tmp_path / "a.tsv", "酸\n碱\t甲\n"))) == ["酸", "碱"]
    assert list(read_texts(write(tmp_path / "a.csv", "text\n酸\n碱\n"))) == ["酸", "碱"]
    assert list(read_texts(write(tmp_path / "a.jsonl", '{"text": "酸"}\n{"text": ""}\n'))) == ["酸", ""]


FAULTS = [
    ("train.tsv", "酸\t甲\n碱\n", "line 2: no label; expected a text and a label (text TAB label)"),
    ("train.tsv", "酸\t甲\n碱\t \n", "line 2: no label"),
    ("train.tsv", "酸\t甲\n \t乙\n", "line 2: no text before the label"),
    ("train.tsv", "酸\t甲\n".encode() * 2 + b"\xcb\xe1\t1\n", "line 3: not UTF-8 (byte 1: 0xcb)"),
    ("train.csv", "text,label\n酸,甲\n".encode() + b"ok,\xff\n", "line 3: not UTF-8 (byte 4: 0xff)"),
    ("train.jsonl", b'{"text": "\xff"}\n', "line 1: not UTF-8 (byte 11: 0xff)"),
    ("train.csv", "text,label\n酸,甲\n碱\n", "line 3: no label; expected a text and a label (a header with"),
    ("train.csv", "text,label\n酸,甲\n碱,\n", "line 3: no label"),
    ("train.csv", "text,label\n酸,甲\n,乙\n", "line 3: no text before the label"),
    ("train.csv", "text,class\n酸,甲\n", "line 2: no label"),
    ("train.csv", "content,label\n酸,甲\n", "line 1: the header has no column 'text' (found content, label)"),
    ("train.csv", 'text,label\n"酸\n碱"\n', "line 3: no label"),
    ("train.jsonl", '{"text": "酸", "label": "甲"}\n{"text": "碱"\n', "line 2: not JSON ("),
    ("train.jsonl", '\n["酸", "甲"]\n', "line 2: expected an object with the keys text and label"),
    ("train.jsonl", '{"text": "酸"}\n', 'line 1: no label; expected a text and a label ({"text": ..., "label": ...})'),
    ("train.jsonl", '{"text": "酸", "label": null}\n', "line 1: no label"),
    ("train.jsonl", '{"label": "甲"}\n', "line 1: no text before the label"),
]


@pytest.mark.parametrize(("name", "content", "message"), FAULTS)
def test_a_fault_is_named_with_file_and_line(tmp_path, name, content, message):
    path = write(tmp_path / name, content)
    with pytest.raises(InputError) as refused:
        read_labelled(path)
    assert str(refused.value).startswith(f"{path}, {message}")
    assert "\n" not in str(refused.value)


@formats
def test_a_file_without_a_text_is_refused(tmp_path, extension):
    for content in ("", "text,label\n" if extension == "csv" else "\n\n"):
        path = write(tmp_path / f"train.{extension}", content)
        with pytest.raises(InputError) as refused:
            read_labelled(path)
        assert str(refused.value) == f"{path}: no labelled text in it"


@formats
def test_a_missing_file_is_named(tmp_path, extension):
    path = str(tmp_path / f"train.{extension}")
    for read in (read_labelled, lambda path: list(read_texts(path))):
        with pytest.raises(InputError) as refused:
            read(path)
        assert str(refused.value) == f"{path}: can't be read (No such file or directory)"


def test_a_labelled_file_of_another_kind_is_refused(tmp_path):
    path = write(tmp_path / "train.txt", "酸\t甲\n")
    with pytest.raises(InputError, match="train.txt: expected one of .tsv, .csv, .jsonl"):
        read_labelled(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "content\n酸\n", "line 1: the header has no column 'text'"),
        ("a.jsonl", '{"text": "酸"}\n{"label": "甲"}\n', "line 2: no text ("),
        ("a.txt", b"ok\n\x80\n", "line 2: not UTF-8 (byte 1: 0x80)"),
    ],
)
def test_a_fault_in_texts_to_classify_is_named_with_file_and_line(tmp_path, name, content, message):
    path = write(tmp_path / name, content)
    with pytest.raises(InputError) as refused:
        list(read_texts(path))
    assert str(refused.value).startswith(f"{path}, {message}")


def test_label_ids_are_positions_among_the_labels():
    split = LabelledTexts(["酸", "碱", "盐"], ["乙", "甲", "乙"], "dev.tsv", [1, 2, 3])
    assert label_ids(split, ["甲", "乙"]) == [1, 0, 1]


def test_a_label_unseen_in_training_is_named_with_file_and_line():
    split = LabelledTexts(["酸", "碱"], ["甲", "丁"], "folder/dev.tsv", [1, 5])
    with pytest.raises(InputError) as refused:
        label_ids(split, ["甲", "乙", "丙"])
    message = str(refused.value)
    assert message.startswith("folder/dev.tsv, line 5: label '丁' does not occur in the training set (甲, 乙, 丙)")
    many = [f"类{number}" for number in range(12)]
    with pytest.raises(InputError, match=r"\(类0, .*, 类9, \.\.\.\)"):
        label_ids(split, many)


@formats
def test_a_split_is_found_by_its_name(tmp_path, extension):
    path = write(tmp_path / f"dev.{extension}", "")
    write(tmp_path / "dev.txt", "")
    assert find_split(str(tmp_path), "dev") == path
    assert find_split(str(tmp_path), "test") is None


def test_two_files_for_one_split_are_refused(tmp_path):
    paths = [write(tmp_path / name, "") for name in ("train.tsv", "train.jsonl")]
    with pytest.raises(InputError) as refused:
        find_split(str(tmp_path), "train")
    assert str(refused.value) == f"--data_dir={tmp_path}: both {paths[0]} and {paths[1]}; keep one"


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(InputError, match="--data_dir=.*nowhere: no such folder"):
        find_split(str(tmp_path / "nowhere"), "train")


def test_a_label_with_a_tab_or_a_line_break_is_refused(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text('{"text": "氯乙烯", "label": "设\\t备"}\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"train.jsonl, line 1: label '设\\t备' holds a tab or a line break"):
        read_labelled(str(path))


def test_labels_are_stripped_in_every_format(tmp_path):
    contents = {
        ".tsv": "氯乙烯\t 设备 \n",
        ".csv": "text,label\n氯乙烯, 设备 \n",
        ".jsonl": '{"text": "氯乙烯", "label": " 设备 "}\n',
    }
    for extension, content in contents.items():
        path = tmp_path / f"train{extension}"
        path.write_text(content, encoding="utf-8")
        assert read_labelled(str(path)).labels == ["设备"]


def test_half_a_surrogate_pair_is_named_with_its_line(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text('{"text": "氯", "label": "甲"}\n{"text": "\\ud800", "label": "甲"}\n', encoding="utf-8")
    with pytest.raises(InputError, match="train.jsonl, line 2: not JSON"):
        read_labelled(str(path))


def test_a_csv_field_may_be_long(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text("text,label\n" + "氯" * 200_000 + ",甲\n", encoding="utf-8")
    assert len(read_labelled(str(path)).texts[0]) == 200_000
