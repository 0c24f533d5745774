"""Words by length and class, against jieba's own file."""

import os

import jieba
import numpy as np
import pytest

from chemkd_tf.errors import InputError
from chemkd_tf.text.lexicon import Lexicon, SpelledWords, is_chinese
from chemkd_tf.text.vocabulary import vocabulary_of

with open(os.path.join(os.path.dirname(jieba.__file__), "dict.txt"), encoding="utf-8") as file:
    ENTRIES = [line.split() for line in file]


@pytest.fixture(scope="module")
def lexicon():
    return Lexicon()


def test_classes_and_words_are_those_of_the_dictionary(lexicon):
    assert lexicon.words() == list(dict.fromkeys(word for word, frequency, _ in ENTRIES if int(frequency) >= 10))
    for word, _, tag in ENTRIES[::97]:
        assert lexicon.class_of(word) == tag[0]
    assert lexicon.class_of("聚氨酯胶黏剂厂") == "n"


def test_the_users_words_come_first_with_their_class(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("聚氨酯胶黏剂厂\n固化 5 v\n反应 3 a\n溶剂法 7\n", encoding="utf-8")
    lexicon = Lexicon(str(path))
    assert lexicon.words()[:4] == ["聚氨酯胶黏剂厂", "固化", "反应", "溶剂法"]
    assert [lexicon.class_of(word) for word in lexicon.words()[:4]] == ["n", "v", "a", "n"]
    with pytest.raises(InputError, match="--user_dictionary=nowhere"):
        Lexicon("nowhere")


def test_words_are_spelled_in_the_vocabulary_one_token_a_character(lexicon):
    vocabulary = vocabulary_of([*"外观检查的", "##观", "a"])
    spelled = SpelledWords(["外观", "检查", "观", "外形", "a", "的"], lexicon, vocabulary)
    names, ids = spelled.of(2, "n")
    assert (names, ids.tolist()) == (["外观"], [[5, 6]])
    assert spelled.of(2, "v")[0] == ["检查"]
    assert spelled.of(1, "u")[0] == ["的"]
    names, ids = spelled.of(3, "n")
    assert names == [] and ids.shape == (0, 3) and ids.dtype == np.int32


def test_chinese_words_are_of_ideographs_alone():
    assert is_chinese("设备") and is_chinese("𠀀")
    assert not any(map(is_chinese, ("", "A型", "15", "，", "设 备", "〇")))
