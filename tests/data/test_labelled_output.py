"""What is written is read back: labelled texts in three formats, and the same texts as a corpus."""

import pytest

from chemkd_tf.data.labelled import read_labelled
from chemkd_tf.data.labelled_output import corpus_writer, labelled_writer, require_writable
from chemkd_tf.data.unlabelled import read_articles
from chemkd_tf.errors import InputError

ROWS = [("负责反应釜的检修", "设备"), ('他说："停车"，a\tb', "安全,环保"), (" 两端 ", "x"), ("𠀀 é \\n", "y")]


@pytest.mark.parametrize("extension", ["tsv", "csv", "jsonl"])
def test_texts_and_labels_come_back(tmp_path, extension):
    rows = ROWS + ([("一行\n两行", "z")] if extension != "tsv" else [])
    path = str(tmp_path / f"train.{extension}")
    with labelled_writer(path) as write:
        for row in rows:
            write(*row)
        assert not (tmp_path / f"train.{extension}").exists()
    split = read_labelled(path)
    assert list(zip(split.texts, split.labels, strict=True)) == rows


def test_texts_without_labels_are_articles(tmp_path):
    path = str(tmp_path / "texts.txt")
    with corpus_writer(path) as write:
        for row in [*ROWS, ("一行\n\n 两行\r\n三行", "z")]:
            write(*row)
    assert list(read_articles(path)) == [*(text.strip() for text, _ in ROWS), "一行两行三行"]


def test_what_a_file_cannot_hold_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"--output_file=out.txt: expected a name that ends in \.tsv, \.csv, \.jsonl"):
        require_writable("out.txt", ["a"], "output_file")
    (tmp_path / "out.tsv").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        require_writable(str(tmp_path / "out.tsv"), ["a"], "output_file")
    with pytest.raises(InputError, match="line breaks"):
        require_writable("out.tsv", ["a", "b\nc"], "output_file")
    require_writable("out.csv", ["b\nc"], "output_file")
