import os
import tempfile

import numpy as np
import pytest
import tensorflow as tf

from chemkd_tf.text.segmentation import WordSegmenter, continuation_flags, word_starts
from chemkd_tf.text.tokenization import BertTokenizer
from chemkd_tf.text.vocabulary import vocabulary_of

VOCABULARY = vocabulary_of([*"反应温度浓硫酸为的 。".replace(" ", ""), "15", "##℃", "h", "##2", "##so", "##4", "a"])


@pytest.fixture(scope="module")
def segmenter():
    return WordSegmenter()


def units(texts: list[str], words_of) -> list[list[list[str]]]:
    """The pieces of each sentence, grouped into units."""
    pieces, starts, ends, normalized = BertTokenizer(VOCABULARY).tokenize_with_offsets(tf.constant(texts))
    token_ids = pieces.flat_values.numpy()
    flags = word_starts(
        pieces.row_lengths().numpy(),
        starts.flat_values.numpy(),
        ends.flat_values.numpy(),
        continuation_flags(VOCABULARY)[token_ids],
        [words_of(text.decode()) for text in normalized.numpy()],
    )
    grouped, position = [], 0
    for row in pieces.to_list():
        sentence: list[list[str]] = []
        for token_id in row:
            if flags[position]:
                sentence.append([])
            sentence[-1].append(VOCABULARY.tokens[token_id])
            position += 1
        grouped.append(sentence)
    assert position == len(flags)
    return grouped


def test_units_are_jieba_words(segmenter):
    assert units(["反应温度为15℃的浓硫酸。"], segmenter.words) == [
        [["反", "应"], ["温", "度"], ["为"], ["15", "##℃"], ["的"], ["浓", "硫", "酸"], ["。"]]
    ]


def test_a_wordpiece_word_that_jieba_splits_is_one_unit():
    assert units(["15℃ h2so4"], lambda text: ["15", "℃", " ", "h2", "so4"]) == [
        [["15", "##℃"], ["h", "##2", "##so", "##4"]]
    ]


def test_wordpiece_words_that_a_jieba_word_overlaps_are_one_unit():
    # 15℃ and 的 are joined by the word "℃的"; so is everything that hangs on either.
    assert units(["酸15℃的酸"], lambda text: ["酸", "15", "℃的", "酸"]) == [[["酸"], ["15", "##℃", "的"], ["酸"]]]


def test_unknown_words_and_spaces_do_not_derail_the_alignment():
    texts = ["鿀酸 zzz 反应", "", "   ", "反应", "鿀"]
    words = {
        "鿀酸 zzz 反应": ["鿀酸", " ", "zzz", " ", "反应"],
        "": [],
        "   ": ["   "],
        "反应": ["反应"],
        "鿀": ["鿀"],
    }
    assert units(texts, words.__getitem__) == [
        [["[UNK]", "酸"], ["[UNK]"], ["反", "应"]],
        [],
        [],
        [["反", "应"]],
        [["[UNK]"]],
    ]


def test_units_equal_a_character_by_character_oracle(segmenter):
    texts = ["反应温度为15℃的浓硫酸。H2SO4 a反应a 鿀鿀浓硫酸15℃15℃", "É酸é 15 ℃反应", "的的温度温度"]
    for text, found in zip(texts, units(texts, segmenter.words), strict=True):
        pieces, starts, ends, normalized = BertTokenizer(VOCABULARY).tokenize_with_offsets([text])
        normalized_bytes = normalized.numpy()[0]
        joined = set()  # Pairs of neighbouring bytes that must not be parted.
        position = 0
        for word in segmenter.words(normalized_bytes.decode()):
            size = len(word.encode())
            joined.update(range(position, position + size - 1))
            position += size
        spans = list(zip(pieces.to_list()[0], starts.to_list()[0], ends.to_list()[0], strict=True))
        expected: list[list[str]] = []
        for index, (token_id, start, _) in enumerate(spans):
            token = VOCABULARY.tokens[token_id]
            glued = index > 0 and all(byte in joined for byte in range(spans[index - 1][2] - 1, start))
            if glued or token.startswith("##"):
                expected[-1].append(token)
            else:
                expected.append([token])
        assert found == expected


def test_nothing_at_all_has_no_units():
    empty = np.zeros(0, np.int64)
    assert word_starts(np.zeros(2, np.int64), empty, empty, np.zeros(0, bool), [[], []]).tolist() == []


def test_words_joined_are_the_text_and_no_cache_is_left(segmenter, capfd):
    text = "浓硫酸  h2so4，15℃\u3000的。"
    assert "".join(segmenter.words(text)) == text
    before = set(os.listdir(tempfile.gettempdir()))
    WordSegmenter()
    left = {name for name in set(os.listdir(tempfile.gettempdir())) - before if "jieba" in name}
    assert left == set()
    assert capfd.readouterr().err == ""
