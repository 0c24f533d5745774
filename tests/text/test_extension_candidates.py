"""What a corpus asks of a vocabulary, against plain counting with the restatement of google-research/bert's rules."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from text import reference_tokenizer

from chemkd_tf.text import extension_candidates
from chemkd_tf.text.extension_candidates import BoundedCounter, Candidates, Choice, NewEntry
from chemkd_tf.text.vocabulary import Vocabulary, vocabulary_of
from chemkd_tf.text.vocabulary_extension import extend

# Without "##d", and with "##cd" but not "##c": what follows a longer entry may be missing.
VOCABULARY = vocabulary_of("酸 碱 ， a b c n h 5 1 ab ##a ##b ##cd ##n ##h ##o ##5 ##1 5n ##0".split())
ENTRIES = set(VOCABULARY.tokens)
LINES = ["氯碱氯酸—，氯", "NaOH naoh naoh 5μb，h", "ab5h a5n —孤", "abcd 15oh 1oh 11oh 5nh 5nh"]

lines = st.text(st.sampled_from("酸碱氯乙，—aabbccddnnhhoo5510μ℃é  "), max_size=30)
corpora = st.lists(lines, min_size=1, max_size=8)


def unknown_words(corpus: list[str], entries: set[str]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for line in corpus:
        for word in reference_tokenizer.words(line):
            counts[word] += reference_tokenizer.pieces_of_word(word, entries) == ["[UNK]"]
    return +counts


def choose(corpus, most=1000, min_frequency=1, min_word_length=2, vocabulary: Vocabulary = VOCABULARY) -> Choice:
    candidates = Candidates(vocabulary)
    for line in corpus:
        candidates.add(line + "\n")
    return candidates.choose(most, min_frequency, min_word_length)


def test_characters_come_first_the_frequent_first_then_words_by_the_tokens_they_save():
    chosen = choose(LINES)
    # "abcd" is "ab ##cd"; "15oh" is "1 ##5 ##oh"; "5nh" is "5n ##h": no "##nh" would be found in it.
    assert chosen.entries == [
        NewEntry("氯", "character", 3),
        NewEntry("—", "character", 2),
        NewEntry("##μ", "character", 1),
        NewEntry("孤", "character", 1),
        NewEntry("naoh", "word", 3),
        NewEntry("##oh", "word", 3),
        NewEntry("a5n", "word", 1),
        NewEntry("ab5h", "word", 1),
        NewEntry("##μb", "word", 1),
        NewEntry("abcd", "word", 1),
    ]
    assert set(chosen.left_out.values()) == {0}


def test_limits_hold_and_say_what_they_left_out():
    assert choose(LINES, min_frequency=3, min_word_length=0).entries == [NewEntry("氯", "character", 3)]
    chosen = choose(LINES, min_frequency=2, min_word_length=3)
    assert [entry.token for entry in chosen.entries] == ["氯", "—", "naoh"]
    assert chosen.left_out["characters_too_rare"] == 2
    chosen = choose(LINES, most=3, min_frequency=1)
    assert [entry.token for entry in chosen.entries] == ["氯", "—", "##μ"]
    assert (chosen.left_out["characters_without_room"], chosen.left_out["words_without_room"]) == (1, 6)


@settings(deadline=None)
@given(corpora)
def test_with_room_for_all_nothing_is_unknown_and_every_character_is_needed(corpus):
    chosen = choose(corpus)
    new = extend(VOCABULARY, [entry.token for entry in chosen.entries])
    assert not unknown_words(corpus, set(new.tokens))
    characters = [entry for entry in chosen.entries if entry.kind == "character"]
    for entry in characters:
        without = ENTRIES | {other.token for other in characters} - {entry.token}
        unknown = unknown_words(corpus, without)
        assert unknown
        assert sum(
            count * max(1, word[1:].count(entry.token.removeprefix("##"))) for word, count in unknown.items()
        ) >= (entry.frequency)
        if len(entry.token) == 1:
            assert sum(unknown.values()) == entry.frequency


@settings(deadline=None)
@given(corpora, st.integers(0, 6), st.integers(1, 3))
def test_no_word_becomes_unknown(corpus, most, min_frequency):
    chosen = choose(corpus, most, min_frequency)
    assert len(chosen.entries) <= most
    new = extend(VOCABULARY, [entry.token for entry in chosen.entries])
    assert unknown_words(corpus, set(new.tokens)) <= unknown_words(corpus, ENTRIES)


@settings(deadline=None)
@given(corpora)
def test_every_word_added_has_several_pieces_and_a_letter_and_stands_in_the_corpus(corpus):
    words = Counter(word for line in corpus for word in reference_tokenizer.words(line))
    for token, kind, frequency in choose(corpus).entries:
        if kind == "word":
            text = token.removeprefix("##")
            assert text[0].isalpha() and not any(map(reference_tokenizer.is_ideograph, text))
            assert frequency <= sum(count for word, count in words.items() if word.endswith(text))
            if token == text:
                assert frequency == words[text]
                assert len(reference_tokenizer.pieces_of_word(text, ENTRIES)) > 1 or unknown_words([text], ENTRIES)


def test_an_entry_that_would_leave_another_word_without_pieces_is_no_entry():
    # With "abc", "abcd" would be "abc" and a "##d" that is no entry.
    vocabulary = vocabulary_of("a ab ##b ##c ##cd".split())
    chosen = choose(["abc abc abc abcd"], min_frequency=2, vocabulary=vocabulary)
    assert chosen.entries == []
    assert chosen.left_out["words_that_would_break_others"] == 1
    assert [entry.token for entry in choose(["abc abc abc"], 9, 2, vocabulary=vocabulary).entries] == ["abc"]
    # Beside an entry "abcd" it may be one; with room for one entry, the one that breaks nothing is taken.
    assert [entry.token for entry in choose(["abc abc abc abcd"], vocabulary=vocabulary).entries] == ["abc", "abcd"]
    assert [entry.token for entry in choose(["abc abc abc abcd"], 1, vocabulary=vocabulary).entries] == ["abcd"]


def test_numbers_and_words_of_more_than_200_characters_get_no_entry():
    assert choose(["15 115 51", "a" * 201, "b" * 200]).entries == [NewEntry("b" * 200, "word", 1)]


def test_the_order_of_the_corpus_makes_no_difference():
    rng = random.Random(3)
    corpus = ["".join(rng.choices("酸氯乙abcdnho51 ", k=30)) for _ in range(50)]
    expected = choose(corpus, 20)
    for _ in range(3):
        rng.shuffle(corpus)
        assert choose(corpus, 20) == expected


def test_what_was_met_may_be_forgotten(monkeypatch):
    expected = choose(LINES * 3)
    monkeypatch.setattr(extension_candidates, "MOST_WORDS_REMEMBERED", 2)
    assert choose(LINES * 3) == expected


@pytest.mark.parametrize("seed", range(5))
def test_a_bounded_counter_is_too_low_by_no_more_than_it_says(seed):
    rng = random.Random(seed)
    words = [str(min(int(rng.expovariate(0.05)), 400)) for _ in range(3000)]
    counter = BoundedCounter(most=40)
    for word in words:
        counter.add(word, 1)
        assert len(counter.counts) <= 40
    assert counter.lacking > 0
    for word, count in Counter(words).items():
        assert count - counter.lacking <= counter.counts[word] <= count


def test_a_counter_that_forgot_nothing_lacks_nothing():
    counter = BoundedCounter(most=3)
    for word in "abcabca":
        counter.add(word, 2)
    assert (counter.counts, counter.lacking) == ({"a": 6, "b": 4, "c": 4}, 0)
