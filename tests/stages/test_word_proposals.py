"""Candidates in a text: words of the same length and part of speech, and words to jieba where they would stand."""

import dataclasses

import jieba
import pytest
import tiny

from chemkd_tf.config import AugmentationConfig
from chemkd_tf.errors import InputError
from chemkd_tf.models.checkpoints import Pretrained
from chemkd_tf.stages.word_proposals import WordProposals, fingerprint, require_known_characters
from chemkd_tf.text.lexicon import Lexicon
from chemkd_tf.text.protection import Protection
from chemkd_tf.text.segmentation import WordSegmenter
from chemkd_tf.text.vocabulary import vocabulary_of

TEXTS = ["工作人员负责检查设备，温度达到80℃时停止搅拌。", "产品性能和质量", "", "H2O\n人员管理设备"]
VOCABULARY = vocabulary_of(
    [*dict.fromkeys("工作人员负责检查设备温度达到时停止搅拌产品性能和质量管理物体力气水火动生成分部开发与"), "，", "。"]
)
CONFIG = AugmentationConfig(
    input_file="a.tsv", output_file="b.tsv", teacher_dir="teacher", num_candidates=4, max_seq_length=16, batch_size=8,
    least_likelihood=0.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def lexicon():
    return Lexicon()


@pytest.fixture(scope="module")
def network():
    return tiny.masked_lm(tiny.teacher_architecture(vocabulary_size=VOCABULARY.size, num_layers=1), seed=1)


def proposals(network, lexicon, texts=TEXTS, **changes):
    teacher = Pretrained(None, True, None, network, "")
    config = dataclasses.replace(CONFIG, **changes)
    return WordProposals(config, teacher, VOCABULARY, lexicon, Protection(lexicon), WordSegmenter())(texts)


def test_candidates_are_other_words_of_the_same_kind_and_stand_as_words(network, lexicon):
    found = proposals(network, lexicon)
    assert sum(len(candidates) for _, candidates in found) > 5
    for text, (parts, candidates) in zip(TEXTS, found, strict=True):
        assert "".join(parts.words) == text
        for place, names in candidates.items():
            word = parts.words[place]
            assert parts.changeable[place] and 0 < len(names) <= 4
            assert names == sorted(set(names)) and word not in names
            for name in names:
                assert len(name) == len(word) and set(name) <= set(VOCABULARY.tokens)
                assert lexicon.class_of(name) == lexicon.class_of(word)
                before, after = ("".join(parts.words[max(0, place - 2) : place]), parts.words[place + 1 : place + 3])
                cut = jieba.lcut(before[-6:] + name + "".join(after)[:6])
                ends = [sum(map(len, cut[:number])) for number in range(len(cut))]
                assert (len(before[-6:]), name) in zip(ends, cut, strict=True)


def test_what_the_model_does_not_read_stays(network, lexicon):
    ((parts, candidates),) = proposals(network, lexicon, TEXTS[:1], max_seq_length=9)
    # Seven characters are read: 工作人员负责检.
    inside = [word for word, free in zip(parts.words, parts.changeable, strict=True) if free]
    assert "".join(inside) == "工作人员负责"
    assert set(candidates) <= {place for place, free in enumerate(parts.changeable) if free}


@pytest.mark.slow
def test_texts_have_the_same_candidates_alone_and_together(network, lexicon):
    together = proposals(network, lexicon)
    assert [proposals(network, lexicon, [text])[0] for text in TEXTS] == together


def test_the_fingerprint_is_of_the_weights(network):
    same, other = (tiny.masked_lm(tiny.teacher_architecture(vocabulary_size=VOCABULARY.size, num_layers=1), seed)
                   for seed in (1, 2))  # fmt: skip
    assert fingerprint(network) == fingerprint(same) != fingerprint(other)


def test_a_vocabulary_without_most_of_the_characters_is_refused():
    require_known_characters(["工作人员", "鸡鸭"], VOCABULARY, "vocab.txt")
    require_known_characters(["abc 15"], VOCABULARY, "vocab.txt")
    with pytest.raises(InputError, match=r"vocab.txt: no entry for 75% of the texts' Chinese characters \(鸡 鸭 ...\)"):
        require_known_characters(["工鸡鸡鸭"], VOCABULARY, "vocab.txt")
