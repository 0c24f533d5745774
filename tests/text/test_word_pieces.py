"""WordPiece on single words, against the restatement of google-research/bert's rules."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from text import reference_tokenizer

from chemkd_tf.text.vocabulary import vocabulary_of
from chemkd_tf.text.word_pieces import WordPieces

VOCABULARY = vocabulary_of("a b ab abc ##b ##c ##bc ##ab h ##2 ##so ##4".split())
IDS = {token: index for index, token in enumerate(VOCABULARY.tokens)}
PIECES = WordPieces(VOCABULARY)

words = st.text(st.sampled_from("abch2so4α"), min_size=1, max_size=8)


@given(words)
def test_pieces_equal_the_reference(word):
    expected = reference_tokenizer.pieces_of_word(word, IDS)
    assert PIECES.split(word) == ([] if expected == ["[UNK]"] else [IDS[piece] for piece in expected])


@given(words)
def test_what_is_missing_is_all_that_is_missing_and_nothing_more(word):
    ids, missing = PIECES.match(word)
    known = set(IDS) | set(missing)
    pieces = reference_tokenizer.pieces_of_word(word, known)
    assert "[UNK]" not in pieces
    assert [IDS[piece] for piece in pieces if piece in IDS] == ids
    assert [piece for piece in pieces if piece not in IDS] == missing
    for token in missing:
        assert reference_tokenizer.pieces_of_word(word, known - {token}) == ["[UNK]"]


@pytest.mark.parametrize(
    ("word", "pieces"), [("b", ["##b"]), ("bc", ["##bc"]), ("abb", ["##ab", "##b"]), ("h", []), ("a", [])]
)
def test_the_later_part_of_a_word_has_continuing_pieces_alone(word, pieces):
    assert PIECES.split(word, continues=True) == [IDS[piece] for piece in pieces]


def test_a_word_of_more_than_200_characters_has_nothing_and_lacks_nothing():
    assert len(PIECES.split("a" + "b" * 199)) == 199  # "ab" and 198 pieces
    assert PIECES.match("a" + "b" * 200) == ([], [])


def test_entries_are_found_by_their_text():
    assert all(token in PIECES for token in VOCABULARY.tokens)
    assert "##α" not in PIECES and "x" not in PIECES
