"""Token ids equal google-research/bert's, by a restatement of its rules (reference_tokenizer)."""

import glob
import os
import random
import unicodedata
from collections import Counter

import pytest
from text import reference_tokenizer
from text.test_tokenization import HARD, IDS, VOCABULARY, reference_ids

from chemkd_tf.text import block_tokenization
from chemkd_tf.text.block_tokenization import BlockTokenizer
from chemkd_tf.text.vocabulary import load_vocabulary, vocabulary_of


def rows_of(tokenizer: BlockTokenizer, lines: list[str]) -> list[list[int]]:
    """Token ids of each line, all tokenised at once."""
    found = tokenizer.tokenize("\n".join(lines))
    assert found.line_splits[0] == 0 and found.line_splits[-1] == len(found.token_ids)
    return [
        found.token_ids[start:end].tolist()
        for start, end in zip(found.line_splits, found.line_splits[1:], strict=False)
    ]


@pytest.mark.parametrize("do_lower_case", [True, False])
def test_hard_cases_equal_the_reference(do_lower_case):
    lines = [text.replace("\n", " ") for text in HARD.values()]
    expected = [reference_ids(line, IDS, do_lower_case) for line in lines]
    tokenizer = BlockTokenizer(VOCABULARY, do_lower_case)
    assert rows_of(tokenizer, lines) == expected
    assert rows_of(tokenizer, lines) == expected, "the second time from the dictionary of words"
    assert [rows_of(tokenizer, [line])[0] for line in lines] == expected


@pytest.mark.parametrize("do_lower_case", [True, False])
def test_every_assigned_character_equals_the_reference(do_lower_case):
    characters = [
        chr(code)
        for code in range(0x110000)
        if unicodedata.category(chr(code)) not in ("Cn", "Cs", "Co") and chr(code) != "\n"
    ]
    lines = [f"a{character}a b{character}" for character in characters]
    found = rows_of(BlockTokenizer(VOCABULARY, do_lower_case), lines)
    # Each is a few dictionary look-ups of plain Python; Hangul and ideographs behave alike, every 16th will do.
    for code, character, line, row in zip(range(len(lines)), characters, lines, found, strict=True):
        if code % 16 == 0 or not ("\u3400" <= character <= "\u9fff" or "가" <= character):
            assert row == reference_ids(line, IDS, do_lower_case), hex(ord(character))


@pytest.mark.parametrize("do_lower_case", [True, False])
def test_random_lines_equal_the_reference(do_lower_case):
    rng = random.Random(5)
    pool = "的酸a bX2#é，。\u0301\u200b\u3000Σσςİ가ᄀ℃豈\r\t\x00\ufffd\u2028\x1c\x85\u037e\u2260𝒳😀\u302e"
    lines = ["".join(rng.choices(pool, k=rng.randrange(12))) for _ in range(4000)]
    lines += ["".join(chr(rng.choice([rng.randrange(0xD800), rng.randrange(0xE000, 0x110000)])) for _ in range(9))
              .replace("\n", "") for _ in range(1500)]  # fmt: skip
    found = rows_of(BlockTokenizer(VOCABULARY, do_lower_case), lines)
    for line, row in zip(lines, found, strict=True):
        assert row == reference_ids(line, IDS, do_lower_case), repr(line)


def test_lines_of_white_space_are_blank_and_only_those():
    lines = ["", " \t\r", "\u3000\x1c\x85\u2028", "\u200b", "\ufeff", "a", "\u0301"]
    found = BlockTokenizer(VOCABULARY).tokenize("\n".join(lines))
    assert found.blank.tolist() == [not line.strip() for line in lines]
    assert found.unit_starts is None


def test_the_dictionary_of_words_may_start_anew(monkeypatch):
    monkeypatch.setattr(block_tokenization, "MOST_WORDS_KEPT", 10)
    rng = random.Random(1)
    tokenizer = BlockTokenizer(VOCABULARY)
    for _ in range(20):
        lines = ["".join(rng.choices("abcx24 ", k=20)) for _ in range(10)]
        assert rows_of(tokenizer, lines) == [reference_ids(line, IDS) for line in lines]


@pytest.mark.parametrize("do_lower_case", [True, False])
def test_counted_words_are_those_of_the_reference(do_lower_case):
    rng = random.Random(6)
    pool = "的酸ab X2#é，。\u0301\u200b\u3000ΣσςİГ가ᄀ℃豈\r\t\x00\ufffd\u2028\x1c\x85\u037e\u2260𝒳😀\u302e\n"
    lines = [*HARD.values(), *("".join(rng.choices(pool, k=rng.randrange(12))) for _ in range(2000))]
    expected = Counter(word for line in lines for word in reference_tokenizer.words(line, do_lower_case))
    tokenizer = BlockTokenizer(VOCABULARY, do_lower_case)
    for _ in range(2):
        characters, words = tokenizer.count_words("\n".join(lines))
        assert characters + words == expected
        alone = [word for word in expected if len(word) == 1]
        assert set(characters) == {
            word for word in alone if reference_tokenizer.is_ideograph(word) or reference_tokenizer.is_punctuation(word)
        }


def test_a_vocabulary_without_letters_gives_unknown_words():
    tokenizer = BlockTokenizer(vocabulary_of(["酸"]))
    assert rows_of(tokenizer, ["酸abc 酸x", "", "12"]) == [[5, 1, 5, 1], [], [1]]


def test_real_lines_equal_the_reference():
    folder, path = os.environ.get("CHEMKD_REAL_TEXT"), os.environ.get("CHEMKD_REAL_VOCAB")
    if not folder or not path:
        pytest.skip("set CHEMKD_REAL_TEXT (a folder of .txt) and CHEMKD_REAL_VOCAB (a BERT vocabulary)")
    vocabulary = load_vocabulary(path)
    ids = {token: index for index, token in enumerate(vocabulary.tokens)}
    tokenizer = BlockTokenizer(vocabulary)
    compared = 0
    for name in sorted(glob.glob(os.path.join(folder, "*.txt"))):
        with open(name, encoding="utf-8", newline="\n") as file:
            lines = file.read().split("\n")
        for index, (line, row) in enumerate(zip(lines, rows_of(tokenizer, lines), strict=True)):
            if index % 20 == 0:
                assert row == [ids[piece] for piece in reference_tokenizer.tokenize(line, ids, True)], line
                compared += 1
    assert compared > 1000
