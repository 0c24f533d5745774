import subprocess
import sys

import pytest
import tensorflow as tf

from chemkd_tf.errors import InputError
from chemkd_tf.text.tokenization import BertTokenizer
from chemkd_tf.text.vocabulary_builder import build_vocabulary, count_words

LINES = [
    "氢氧化钠（NaOH）与浓硫酸（H2SO4）反应，温度15℃。",
    "采用HPLC法测定，HPLC流动相为甲醇；NaOH溶液1mol/L。",
    "用硫酸H2SO4调节pH，再加NaOH，Naïve α-蒎烯。",
    "孤",
]


def test_words_are_those_of_the_tokeniser():
    assert count_words(["NaOH，naoh 酸酸", ""]) == {"naoh": 2, "，": 1, "酸": 2}
    assert count_words(["NaOH"], do_lower_case=False) == {"NaOH": 1}


def test_special_tokens_first_then_characters_then_pieces():
    tokens = build_vocabulary(LINES, 400, 2).tokens
    assert tokens[:5] == ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    for piece in ("naoh", "hplc", "h2so4"):
        assert piece in tokens
    assert "酸" in tokens and "##酸" not in tokens and "孤" not in tokens and "，" in tokens and "##，" not in tokens
    assert max(map(tokens.index, ("酸", "，"))) < tokens.index("naoh")
    assert len(set(tokens)) == len(tokens)


def test_no_latin_word_is_unknown_for_lack_of_a_letter():
    vocabulary = build_vocabulary(LINES, 400, 2)
    ids = BertTokenizer(vocabulary).tokenize(["xyzzy 9q8w7 kmno4/c6h6 {@}"]).to_list()[0]
    assert vocabulary.unknown_id not in ids


def test_every_entry_is_reached_by_its_own_text():
    vocabulary = build_vocabulary(LINES, 400, 1)
    tokenizer = BertTokenizer(vocabulary)
    whole = [token for token in vocabulary.tokens[5:] if not token.startswith("##")]
    assert tokenizer.tokenize(tf.constant(whole)).to_list() == [[vocabulary.id_of(token)] for token in whole]


def test_the_size_is_never_exceeded():
    for size in (10, 60, 130, 150, 400):
        assert build_vocabulary(LINES, size, 1).size <= size
    assert build_vocabulary(LINES, 150, 1).size == 150


def test_case_is_kept_on_request():
    tokens = build_vocabulary(LINES, 400, 2, do_lower_case=False).tokens
    assert "NaOH" in tokens and "naoh" not in tokens and "##Z" in tokens


def test_an_empty_corpus_is_refused():
    with pytest.raises(InputError, match="no text"):
        build_vocabulary(["", "  "], 100, 1)


def test_another_process_builds_the_same_entries():
    # Hash tables of the library are seeded anew in each process.
    program = (
        "import hashlib\n"
        "from chemkd_tf.text.vocabulary_builder import build_vocabulary\n"
        f"print(build_vocabulary({LINES!r}, 260, 1).sha256)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == build_vocabulary(LINES, 260, 1).sha256
