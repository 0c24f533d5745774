"""Candidates of masked words against a search through all words, one row at a time, in NumPy."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
import tiny

from chemkd_tf.models.word_candidates import MaskedWord, WordCandidates
from chemkd_tf.text.lexicon import SpelledWords
from chemkd_tf.text.vocabulary import vocabulary_of

CHARACTERS = "甲乙丙丁戊己庚辛"
VOCABULARY = vocabulary_of([*CHARACTERS, "a", "##a", "15", "[unused1]", "。"])
# Words ending in 辛 are verbs; not every sequence is a word.
WORDS = [
    "".join(word)
    for length in (1, 2, 3)
    for number, word in enumerate(itertools.product(CHARACTERS, repeat=length))
    if length < 3 or number % 5
]
LEXICON = SimpleNamespace(class_of=lambda word: "v" if word.endswith("辛") else "n")
SPELLED = SpelledWords([*WORDS, "a", "15", "甲a", "壬"], LEXICON, VOCABULARY)
TEXTS = ["甲乙丙a丁戊己庚", "己己辛15甲丙", "乙丁"]


@pytest.fixture(scope="module")
def model():
    """The masked language model as a graph: thousands of rows are asked for one by one."""
    network = masked_lm()
    return tf.function(lambda batch: network(batch, training=False), reduce_retracing=True)


def masked_lm():
    return tiny.masked_lm(tiny.teacher_architecture(vocabulary_size=VOCABULARY.size), seed=5)


def row(text):
    tokens = text.replace("15", "#").replace("#", " 15 ").replace("a", " a ").replace(" ", "|")
    pieces = [p for part in tokens.split("|") for p in ([part] if part in ("15", "a") else list(part))]
    return np.array([VOCABULARY.start_id, *map(VOCABULARY.id_of, pieces), VOCABULARY.end_id], np.int32)


ROWS = [row(text) for text in TEXTS]
# Row, place of the first token, word: of one, two and three characters.
PLACES = [
    (0, 1, "甲乙"),
    (0, 3, "丙"),
    (0, 5, "丁戊己"),
    (0, 8, "庚"),
    (1, 1, "己己辛"),
    (1, 5, "甲丙"),
    (2, 1, "乙丁"),
]
ASKED = [MaskedWord(number, first, word, LEXICON.class_of(word)) for number, first, word in PLACES]


def candidates(model, beam_width=10**6, least_likelihood=0.0, masked_share=0.0, batch_size=4):
    return WordCandidates(
        lambda batch, training: model(batch),
        VOCABULARY,
        SPELLED,
        beam_width,
        least_likelihood,
        masked_share,
        batch_size,
    )


def log_probabilities(model, ids, position):
    """Natural logarithms of the model's answer at one position of one row."""
    batch = {
        "token_ids": tf.constant([ids]),
        "segment_ids": tf.zeros([1, len(ids)], tf.int32),
        "padding_mask": tf.ones([1, len(ids)], tf.int32),
        "mask_positions": tf.constant([[position]], tf.int32),
    }
    logits = model(batch)["logits"].numpy()[0, 0].astype(np.float64)
    return logits - np.log(np.exp(logits).sum())


def score(model, asked, word):
    """log p(word | text), by the chain rule from left to right."""
    ids = list(ROWS[asked.row])
    ids[asked.first : asked.first + len(word)] = [VOCABULARY.mask_id] * len(word)
    total = 0.0
    for place, character in enumerate(word, asked.first):
        total += log_probabilities(model, ids, place)[VOCABULARY.id_of(character)]
        ids[place] = VOCABULARY.id_of(character)
    return total


def all_scores(model, asked):
    same = [w for w in WORDS if len(w) == len(asked.word) and LEXICON.class_of(w) == asked.word_class]
    return {word: score(model, asked, word) for word in same}


@pytest.mark.parametrize("number", [0, 1, 5, 6])
def test_a_wide_beam_finds_the_most_probable_words_of_all(model, number):
    scores = all_scores(model, ASKED[number])
    expected = sorted(scores.keys() - {ASKED[number].word}, key=lambda word: -scores[word])
    (found,) = candidates(model).best(ROWS, [ASKED[number]], 10)
    assert found == expected[:10]
    (found,) = candidates(model).best(ROWS, [ASKED[number]], 10**6)
    assert found == expected


def test_a_wide_beam_finds_the_most_probable_words_of_three_characters(model):
    # 辛 at the end: 64 words less a fifth.
    scores = all_scores(model, ASKED[4])
    expected = sorted(scores.keys() - {"己己辛"}, key=lambda word: -scores[word])
    assert candidates(model).best(ROWS, [ASKED[4]], 12) == [expected[:12]]


def test_a_beam_of_one_keeps_the_beginning_with_the_best_word(model):
    asked = ASKED[0]
    ids = list(ROWS[0])
    ids[1:3] = [VOCABULARY.mask_id] * 2
    first, second = (log_probabilities(model, ids, place) for place in (1, 2))
    words = [word for word in WORDS if len(word) == 2 and not word.endswith("辛")]
    likeliest = max(words, key=lambda word: first[VOCABULARY.id_of(word[0])] + second[VOCABULARY.id_of(word[1])])
    expected = sorted(
        (word for word in words if word[0] == likeliest[0] and word != asked.word),
        key=lambda word: -score(model, asked, word),
    )
    assert candidates(model, beam_width=1).best(ROWS, [asked], 4) == [expected[:4]]


def test_unlikely_words_are_left_out_and_the_word_itself_counts_as_the_likeliest(model):
    for asked in (ASKED[1], ASKED[5]):
        scores = all_scores(model, asked)
        least = max(scores.values()) + np.log(0.3)
        expected = {word for word, value in scores.items() if value >= least} - {asked.word}
        (found,) = candidates(model, least_likelihood=0.3).best(ROWS, [asked], 100)
        assert set(found) == expected and len(expected) < len(scores) - 1


def test_words_of_one_row_are_masked_together(model):
    single = [MaskedWord(0, place, character, "n") for place, character in ((1, "甲"), (3, "丙"), (6, "戊"))]
    ids = list(ROWS[0])
    for word in single:
        ids[word.first] = VOCABULARY.mask_id
    expected = []
    for word in single:
        values = log_probabilities(model, ids, word.first)
        others = [c for c in CHARACTERS if c not in (word.word, "辛")]
        expected.append(sorted(others, key=lambda c: -values[VOCABULARY.id_of(c)]))
    assert candidates(model, masked_share=1.0).best(ROWS, single, 10) == expected
    assert candidates(model).best(ROWS, single, 10) != expected


@pytest.mark.parametrize("masked_share", [0.0, 0.3, 1.0])
def test_neither_batches_nor_other_texts_change_the_candidates(model, masked_share):
    found = candidates(model, 3, 0.0, masked_share, 4).best(ROWS, ASKED, 5)
    assert all(found)
    for size in (1, 3, 100):
        assert candidates(model, 3, 0.0, masked_share, size).best(ROWS, ASKED, 5) == found
    alone = [
        words
        for number in range(3)
        for words in candidates(model, 3, 0.0, masked_share).best(ROWS, [w for w in ASKED if w.row == number], 5)
    ]
    assert alone == found


def test_only_words_of_the_lexicon_of_the_same_length_and_class_and_never_the_word_itself(model):
    found = candidates(model, 4, 0.0, 0.2).best(ROWS, ASKED, 50)
    for asked, words in zip(ASKED, found, strict=True):
        assert len(set(words)) == len(words) > 0
        assert asked.word not in words
        for word in words:
            assert word in WORDS and len(word) == len(asked.word)
            assert LEXICON.class_of(word) == asked.word_class


def test_a_word_without_any_other_of_its_kind_has_no_candidates(model):
    assert candidates(model).best(ROWS, [MaskedWord(0, 1, "甲乙", "adverb")], 5) == [[]]
    assert candidates(model).best(ROWS, [], 5) == []
