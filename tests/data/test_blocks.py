import gzip
import hashlib

import pytest
from data.record_oracles import random_corpus, write_corpus

from chemkd_tf.data import blocks as blocks_module
from chemkd_tf.data.blocks import Block, find_files, read_block, read_lines, split_into_blocks
from chemkd_tf.errors import InputError


def read_articles(block: Block) -> list[list[str]]:
    """The articles of a block, line by line."""
    articles: list[list[str]] = [[]]
    for line in read_block(block).split("\n"):
        if line.strip():
            articles[-1].append(line.strip())
        elif articles[-1]:
            articles.append([])
    return [article for article in articles if article]


@pytest.mark.parametrize("block_bytes", [1, 200, 1000, 1 << 20])
def test_blocks_give_back_every_article_whole(tmp_path, block_bytes):
    corpora = [random_corpus(seed, 20) for seed in (1, 2)]
    paths = [write_corpus(tmp_path / f"{number}.txt", corpus) for number, corpus in enumerate(corpora)]
    blocks = split_into_blocks(paths, block_bytes).blocks
    assert [article for block in blocks for article in read_articles(block)] == corpora[0] + corpora[1]
    assert [block.index for block in blocks] == list(range(len(blocks)))
    for block in blocks:
        assert block.end - block.start < block_bytes + 6 * 41 * 3 + 2
    assert (len(blocks) > 2) == (block_bytes < 1 << 20)


def test_white_space_only_is_a_blank_line_and_crlf_is_tolerated(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_bytes("酸 \r\n碱\r\n \u3000\r\n\r\n盐\n\t\n水".encode())
    (block,) = split_into_blocks([str(path)]).blocks
    assert read_articles(block) == [["酸", "碱"], ["盐"], ["水"]]
    assert len(split_into_blocks([str(path)], block_bytes=1).blocks) == 3


def test_the_end_of_a_file_ends_an_article(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text(name, encoding="utf-8")
    corpus = split_into_blocks(find_files(f"{tmp_path}/*.txt"))
    assert [read_articles(block) for block in corpus.blocks] == [[["a"]], [["b"]]]


def test_files_and_globs_are_resolved_in_order_and_once(tmp_path):
    for name in ("b.txt", "a.txt", "c.md"):
        (tmp_path / name).write_text("x", encoding="utf-8")
    found = find_files(f"{tmp_path}/b.txt, {tmp_path}/*.txt,{tmp_path}/c.md,")
    assert found == [str(tmp_path / name) for name in ("b.txt", "a.txt", "c.md")]


@pytest.mark.parametrize("pattern", ["{}/nothing.txt", "{}/*.nothing", "{}/there.txt,{}/nothing.txt", " , "])
def test_a_pattern_without_a_file_is_refused(tmp_path, pattern):
    (tmp_path / "there.txt").write_text("x", encoding="utf-8")
    with pytest.raises(InputError, match="nothing|empty"):
        find_files(pattern.format(tmp_path, tmp_path))


def test_invalid_utf8_is_named_with_file_and_line(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_bytes("酸\n\n碱".encode() + b"\n" + "盐水".encode("gb18030") + b"\n")
    for read in (lambda: split_into_blocks([str(path)]), lambda: list(read_lines([str(path)]))):
        with pytest.raises(InputError, match=r"corpus.txt:4: not UTF-8 \(byte 0xd1 at position 1"):
            read()


@pytest.mark.parametrize("content", ["", "\n\n \n\u3000\n"])
def test_an_empty_corpus_is_refused(tmp_path, content):
    path = tmp_path / "corpus.txt"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match="no text in .*corpus.txt"):
        split_into_blocks([str(path)])


def test_a_long_article_is_parted_between_lines(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks_module, "LONGEST_ARTICLE", 3000)
    lines = ["酸碱盐水" * 5 + str(number) for number in range(500)]
    path = write_corpus(tmp_path / "corpus.txt", [lines, ["水"]])
    found = split_into_blocks([path], block_bytes=1000).blocks
    assert [line for block in found for article in read_articles(block) for line in article] == [*lines, "水"]
    assert all(3000 <= block.end - block.start < 3100 for block in found[:-1][:8]) and len(found) > 8


def test_a_line_that_is_no_sentence_is_refused_with_its_number(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_bytes(b"a\n\n" * 300_000 + b"b" * ((1 << 20) + 1) + b"\nc\n")
    with pytest.raises(InputError, match=r"corpus.txt:600001: a line of more than 1,048,576 bytes.*clean_corpus"):
        split_into_blocks([str(path)])


def test_the_fingerprint_is_that_of_the_content(tmp_path):
    content = "\n\n".join("酸碱" * number for number in range(1, 50)).encode()
    (tmp_path / "whole").write_bytes(content)
    cut = content.index(b"\n\n", 999)
    for name, part in (("a", content[:cut]), ("b", content[cut:])):
        (tmp_path / name).write_bytes(part)
    expected = hashlib.sha256(content).hexdigest()
    assert split_into_blocks([str(tmp_path / "whole")], block_bytes=100).sha256 == expected
    assert split_into_blocks([str(tmp_path / "a"), str(tmp_path / "b")]).sha256 == expected


def test_a_folder_and_a_compressed_file_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"is a folder: name its files"):
        find_files(str(tmp_path))
    path = tmp_path / "corpus.txt.gz"
    path.write_bytes(gzip.compress("酸\n".encode()))
    with pytest.raises(InputError, match=r"corpus.txt.gz: compressed.*clean_corpus"):
        split_into_blocks([str(path)])
