import pytest
from data.record_oracles import random_corpus, write_corpus

from chemkd_tf.data.blocks import find_files, read_articles, read_lines, split_into_blocks
from chemkd_tf.errors import InputError


@pytest.mark.parametrize("block_bytes", [1, 200, 1000, 1 << 20])
def test_blocks_give_back_every_article_whole(tmp_path, block_bytes):
    corpora = [random_corpus(seed, 20) for seed in (1, 2)]
    paths = [write_corpus(tmp_path / f"{number}.txt", corpus) for number, corpus in enumerate(corpora)]
    blocks = split_into_blocks(paths, block_bytes)
    assert [article for block in blocks for article in read_articles(block)] == corpora[0] + corpora[1]
    assert [block.index for block in blocks] == list(range(len(blocks)))
    for block in blocks:
        assert block.sentences == sum(map(len, read_articles(block)))
        assert block.end - block.start < block_bytes + 6 * 41 * 3 + 2
    assert (len(blocks) > 2) == (block_bytes < 1 << 20)


def test_white_space_only_is_a_blank_line_and_crlf_is_tolerated(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_bytes("酸 \r\n碱\r\n \u3000\r\n\r\n盐\n\t\n水".encode())
    (block,) = split_into_blocks([str(path)])
    assert read_articles(block) == [["酸", "碱"], ["盐"], ["水"]]
    assert block.sentences == 4


def test_the_end_of_a_file_ends_an_article(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text(name, encoding="utf-8")
    blocks = split_into_blocks(find_files(f"{tmp_path}/*.txt"))
    assert [read_articles(block) for block in blocks] == [[["a"]], [["b"]]]


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
