"""Words and tokens of a text at once, against the reference tokeniser."""

import numpy as np
import pytest
from text import reference_tokenizer

from chemkd_tf.text.block_tokenization import BlockTokenizer
from chemkd_tf.text.segmentation import WordSegmenter
from chemkd_tf.text.vocabulary import vocabulary_of
from chemkd_tf.text.worded_text import word_texts

PIECES = ["15", "##℃", "h", "##2", "##so", "##4", "un", "##12", "##30", "t", "e", "##e"]
VOCABULARY = vocabulary_of([*"加热到以下的浓硫酸设备检修，。恤", *PIECES])
TEXTS = [
    "加热到15℃以下的浓H2SO4，设备检修。",
    "  UN1230设备\n检修\u200b，É恤T恤 é 未知",
    "",
    "。",
    "的",
    "Ｈ２\u0301酸\u0301加\ufffd热ΑΣ加ΑΣ",
    "\t\r\n ",
]


@pytest.fixture(scope="module")
def segmenter():
    return WordSegmenter()


@pytest.mark.parametrize("lower", [True, False])
def test_tokens_are_those_of_the_whole_text_and_words_know_theirs(segmenter, lower):
    characters = "加热的酸未，。 Hh2é\u0301\u200bΣ\n15℃-"
    rng = np.random.default_rng(0)
    texts = TEXTS + ["".join(rng.choice(list(characters), rng.integers(0, 40))) for _ in range(300)]
    found = word_texts(texts, segmenter, BlockTokenizer(VOCABULARY, lower))
    assert len(found) == len(texts)
    for text, worded in zip(texts, found, strict=True):
        pieces = reference_tokenizer.tokenize(text, VOCABULARY.tokens, lower)
        assert worded.token_ids.tolist() == [VOCABULARY.id_of(piece) for piece in pieces], text
        assert "".join(worded.words) == text
        assert worded.words == segmenter.words(text)
        for word, first in zip(worded.words, worded.first_tokens, strict=True):
            if all(map(reference_tokenizer.is_ideograph, word)):
                for place, character in enumerate(word, first):
                    assert pieces[place] == (character if character in VOCABULARY.tokens else "[UNK]")
            else:
                assert first == -1
        firsts = [first for first in worded.first_tokens if first >= 0]
        assert firsts == sorted(set(firsts))
