"""Words as jieba itself cuts them, one text at a time."""

import logging

import jieba
import pytest
import tensorflow as tf

from chemkd_tf.text.vocabulary import SPECIAL_TOKENS, vocabulary_of
from chemkd_tf.text.word_tokenization import WordSplitter, WordTokenizer, word_vocabulary

TEXTS = ["负责反应釜的检修，熟悉ABC工艺", "", "  \t ", "安全生产许可证 15℃ PVC管", "酸\u2028碱\x00水"]


@pytest.fixture(scope="module")
def splitter():
    return WordSplitter()


def expected_words(text: str) -> list[str]:
    """These texts hold no formula and no accent, so that lower-casing and jieba are all there is."""
    jieba.setLogLevel(logging.WARNING)
    cleaned = text.replace("\x00", "").replace("\u2028", " ").lower()
    return [word for word in jieba.lcut(cleaned) if word.strip()]


def test_words_are_those_of_jieba_in_lower_case(splitter):
    assert splitter(TEXTS) == [expected_words(text) for text in TEXTS]
    assert splitter([]) == []
    assert splitter(["", ""]) == [[], []]


def test_a_formula_is_one_word(splitter):
    assert splitter(["加入Ca(OH)2溶液"]) == [["加入", "ca(oh)2", "溶液"]]


def test_ids_are_those_of_the_words_and_unknown_ones_are_unk():
    vocabulary = vocabulary_of(["负责", "反应釜", "的", "pvc"])
    tokenizer = WordTokenizer(vocabulary)
    encode = tf.function(lambda texts: tokenizer.encode(texts, 6), input_signature=[tf.TensorSpec([None], tf.string)])
    batch = encode(tf.constant(["负责反应釜的检修", "", "PVC管"]))
    unknown, start, end = vocabulary.unknown_id, vocabulary.start_id, vocabulary.end_id
    expected = [[start, 5, 6, 7, unknown, end], [start, end, 0, 0, 0, 0], [start, 8, unknown, end, 0, 0]]
    assert batch["token_ids"].numpy().tolist() == expected
    assert batch["padding_mask"].numpy().sum(axis=1).tolist() == [6, 2, 4]
    assert tokenizer.tokenize(tf.constant([], tf.string)).to_list() == []


def test_bytes_that_are_no_utf8_are_passed_over():
    tokenizer = WordTokenizer(vocabulary_of(["酸"]))
    assert tokenizer.tokenize(tf.constant([b"\xff\xe9\x85\xb8\xc3"])).to_list() == [[5]]


def test_words_of_the_user_dictionary_are_whole(tmp_path):
    (tmp_path / "words.txt").write_text("反应釜的检修 99999 n\n", encoding="utf-8")
    assert WordSplitter(user_dictionary=str(tmp_path / "words.txt"))(["负责反应釜的检修"]) == [["负责", "反应釜的检修"]]


def test_the_vocabulary_holds_frequent_words_first():
    rows = [["酸", "碱", "酸"], ["水", "碱", "酸", "[PAD]"], ["盐"]]
    assert word_vocabulary(rows, 1, 0).tokens == (*SPECIAL_TOKENS, "酸", "碱", "水", "盐")
    assert word_vocabulary(rows, 2, 0).tokens == (*SPECIAL_TOKENS, "酸", "碱")
    assert word_vocabulary(rows, 1, 1).tokens == (*SPECIAL_TOKENS, "酸")
