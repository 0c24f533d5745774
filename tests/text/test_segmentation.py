import os
import tempfile

import numpy as np
import pytest

from chemkd_tf.errors import InputError
from chemkd_tf.text.block_tokenization import BlockTokenizer, normalize
from chemkd_tf.text.segmentation import WordSegmenter
from chemkd_tf.text.tokenization import BertTokenizer
from chemkd_tf.text.vocabulary import vocabulary_of

VOCABULARY = vocabulary_of([*"反应温度浓硫酸为的 。".replace(" ", ""), "15", "##℃", "h", "##2", "##so", "##4", "a"])


@pytest.fixture(scope="module")
def segmenter():
    return WordSegmenter()


class Words:
    """Words given by hand."""

    def __init__(self, words_of):
        self._words_of = words_of

    def word_starts(self, text: str) -> np.ndarray:
        lines = ["".join("|" + "-" * (len(word) - 1) for word in self._words_of(line)) for line in text.split("\n")]
        return np.array(list("|".join(lines))) == "|"


def units(texts: list[str], segmenter) -> list[list[list[str]]]:
    """The pieces of each sentence, grouped into units."""
    tokens = BlockTokenizer(VOCABULARY, segmenter=segmenter).tokenize("\n".join(texts))
    grouped = []
    for start, end in zip(tokens.line_splits, tokens.line_splits[1:], strict=False):
        sentence: list[list[str]] = []
        for token_id, starts_unit in zip(tokens.token_ids[start:end], tokens.unit_starts[start:end], strict=True):
            if starts_unit:
                sentence.append([])
            sentence[-1].append(VOCABULARY.tokens[token_id])
        grouped.append(sentence)
    return grouped


def test_units_are_jieba_words(segmenter):
    assert units(["反应温度为15℃的浓硫酸。"], segmenter) == [
        [["反", "应"], ["温", "度"], ["为"], ["15", "##℃"], ["的"], ["浓", "硫", "酸"], ["。"]]
    ]


def test_a_wordpiece_word_that_jieba_splits_is_one_unit():
    assert units(["15℃ h2so4"], Words(lambda text: ["15", "℃", " ", "h2", "so4"])) == [
        [["15", "##℃"], ["h", "##2", "##so", "##4"]]
    ]


def test_wordpiece_words_that_a_jieba_word_overlaps_are_one_unit():
    # 15℃ and 的 are joined by the word "℃的"; so is everything that hangs on either.
    assert units(["酸15℃的酸"], Words(lambda text: ["酸", "15", "℃的", "酸"])) == [
        [["酸"], ["15", "##℃", "的"], ["酸"]]
    ]


def test_unknown_words_and_spaces_do_not_derail_the_alignment():
    texts = ["鿀酸 zzz 反应", "", "   ", "反应", "鿀"]
    words = {
        "鿀酸 zzz 反应": ["鿀酸", " ", "zzz", " ", "反应"],
        "": [],
        "   ": ["   "],
        "反应": ["反应"],
        "鿀": ["鿀"],
    }
    assert units(texts, Words(words.__getitem__)) == [
        [["[UNK]", "酸"], ["[UNK]"], ["反", "应"]],
        [],
        [],
        [["反", "应"]],
        [["[UNK]"]],
    ]


def test_units_equal_a_character_by_character_oracle(segmenter):
    texts = ["反应温度为15℃的浓硫酸。H2SO4 a反应a 鿀鿀浓硫酸15℃15℃", "É酸é 15 ℃反应", "的的温度温度"]
    for text, found in zip(texts, units(texts, segmenter), strict=True):
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


def test_words_joined_are_the_text_and_no_cache_is_left(segmenter, capfd, tmp_path, monkeypatch):
    text = "浓硫酸  h2so4，15℃\u3000的。"
    assert "".join(segmenter.words(text)) == text
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # Not the one that other processes use meanwhile.
    another = WordSegmenter()
    assert another.words(text) and another.word_starts(text).any()
    assert os.listdir(tmp_path) == []
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("text", "formulae"),
    [
        ("加入ca(oh)2和水", ["ca(oh)2"]),
        ("cuso4·5h2o溶于h2so4", ["cuso4·5h2o", "h2so4"]),
        ("[fe(cn)6]4离子，n-c4h9", ["[fe(cn)6]4", "n-c4h9"]),
        ("（nh4）2so4溶液", ["（nh4）2so4"]),
        ("聚氯乙烯（pvc）", ["pvc"]),
        ("3.5mm和2019-05-01", ["3.5mm", "2019", "05", "01"]),
    ],
)
def test_a_formula_is_one_word(segmenter, text, formulae):
    words = segmenter.words(text)
    assert "".join(words) == text
    assert [
        word for word in words if any(character.isascii() and character.isalnum() for character in word)
    ] == formulae


def test_a_user_dictionary_makes_words(tmp_path, segmenter):
    path = tmp_path / "words.txt"
    path.write_text("\ufeff聚氯乙烯 5 n\n\nPVC树脂\r\n反应釜 n\n", encoding="utf-8")
    text = "聚氯乙烯即pvc树脂，在反应釜中。"
    words = WordSegmenter(str(path), normalize).words(text)
    assert {"聚氯乙烯", "pvc树脂", "反应釜"} <= set(words) and "".join(words) == text
    assert "pvc树脂" not in segmenter.words(text)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"\xff\n", "words.txt:1: not UTF-8"), ("酸\n聚 氯 乙 烯\n".encode(), "words.txt:2: expected a word")],
)
def test_a_bad_user_dictionary_is_refused(tmp_path, content, message):
    (tmp_path / "words.txt").write_bytes(content)
    with pytest.raises(InputError, match=message):
        WordSegmenter(str(tmp_path / "words.txt"))
    with pytest.raises(InputError, match="--user_dictionary=nowhere"):
        WordSegmenter("nowhere")
