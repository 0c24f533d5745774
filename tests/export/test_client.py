"""The client's tokeniser: token for token Google's, by the restatement of its rules and by ours in TensorFlow."""

import glob
import os
import random
import unicodedata

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from text import reference_tokenizer
from text.test_tokenization import HARD, IDS, VOCABULARY

from chemkd_tf.export import client
from chemkd_tf.text.tokenization import BertTokenizer
from chemkd_tf.text.vocabulary import load_vocabulary, save_vocabulary

LOWER, CASED = (client.Tokenizer(VOCABULARY.tokens, do_lower_case) for do_lower_case in (True, False))
IN_TENSORFLOW = BertTokenizer(VOCABULARY)
PAD_ID = IDS["[PAD]"]


def reference_ids(text: str | bytes, do_lower_case: bool = True) -> list[int]:
    return [IDS[piece] for piece in reference_tokenizer.tokenize(text, IDS, do_lower_case)]


def together(tokenizer: client.Tokenizer, texts: list[str | bytes], most: int = 100_000) -> list[list[int]]:
    """The ids of texts that are encoded in one go, without special tokens."""
    (encoded,) = tokenizer.encode_all([texts], most + 2, PAD_ID)
    lengths = (encoded == IDS["[SEP]"]).argmax(axis=1)
    assert (encoded[:, 0] == IDS["[CLS]"]).all() and encoded.dtype == np.int32 and encoded.shape[1] == max(lengths) + 1
    assert all((row[length + 1 :] == PAD_ID).all() for row, length in zip(encoded, lengths, strict=True))
    return [row[1:length].tolist() for row, length in zip(encoded, lengths, strict=True)]


@pytest.mark.parametrize("text", HARD.values(), ids=HARD.keys())
def test_hard_cases_equal_both_tokenisers(text):
    assert LOWER.tokenize(text) == LOWER.tokenize(text.encode()) == reference_ids(text)
    assert LOWER.tokenize(text) == IN_TENSORFLOW.tokenize(tf.constant([text])).to_list()[0]
    assert CASED.tokenize(text) == reference_ids(text, do_lower_case=False)


def test_hard_cases_together_equal_the_reference():
    texts = [*HARD.values(), *(text.encode() for text in HARD.values())]
    assert together(LOWER, texts) == [reference_ids(text) for text in texts]
    assert together(CASED, texts) == [reference_ids(text, do_lower_case=False) for text in texts]
    assert together(LOWER, [""]) == [[]] and together(LOWER, ["", "的", ""]) == [[], [IDS["的"]], []]


ANY_TEXT = st.text(
    alphabet=st.one_of(st.characters(), st.sampled_from("的酸aÉΣİ2 ##[]，。\u0301\u200b\u3000\x00\ud835\udcb3"))
)


@settings(max_examples=200, deadline=None)
@given(st.lists(ANY_TEXT, min_size=1), st.integers(1, 12))
def test_any_texts_together_equal_one_by_one(texts, most):
    assert together(LOWER, texts) == [LOWER.tokenize(text) for text in texts]
    assert together(LOWER, texts, most) == [LOWER.tokenize(text)[:most] for text in texts]
    assert together(CASED, texts, most) == [CASED.tokenize(text)[:most] for text in texts]


def test_a_mark_that_stands_alone_changes_nothing_beside_it():
    """Each mark of the Basic Multilingual Plane, its neighbours of the kinds that look past a neighbour of theirs."""
    marks = [chr(code) for code in range(0x10000) if client._is_punctuation(chr(code))]
    tokens = [*VOCABULARY.tokens, *(mark for mark in marks if mark not in IDS)]
    ids = {token: index for index, token in enumerate(tokens)}
    texts = [f"{left}{mark}{right}" for mark in marks for left in ("ΟΣ", "a") for right in ("Ο", "Σ", "\u0301b", mark)]
    assert len(marks) > 600
    for lower in (True, False):
        expected = [[ids[piece] for piece in reference_tokenizer.tokenize(text, ids, lower)] for text in texts]
        assert together(client.Tokenizer(tokens, lower), texts) == expected


@settings(max_examples=400, deadline=None)
@given(ANY_TEXT)
def test_any_text_equals_the_reference(text):
    # Half a surrogate pair has no UTF-8: what holds one is as good as without it.
    whole = text.encode("utf-8", "ignore").decode()
    assert LOWER.tokenize(text) == reference_ids(whole)
    assert CASED.tokenize(text) == reference_ids(whole, do_lower_case=False)


def test_random_bytes_equal_both_tokenisers():
    rng = random.Random(7)
    pool = [0xE4, 0xB8, 0xAD, 0x61, 0x20, 0xF0, 0xED, 0xC3]
    texts = [bytes(rng.choice([rng.randrange(256), *pool]) for _ in range(30)) for _ in range(2000)]
    found = [LOWER.tokenize(text) for text in texts]
    assert found == [reference_ids(text) for text in texts]
    assert found == IN_TENSORFLOW.tokenize(tf.constant(texts)).to_list()


def test_every_kind_of_character_equals_the_reference():
    """Between two letters, where a character may part a word, belong to it or vanish. Of letters without case, few."""
    assigned = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) not in ("Cn", "Co", "Cs")]
    texts = [f"a{c}b" for c in assigned if unicodedata.category(c) != "Lo" or ord(c) % 16 == 0]
    assert len(texts) > 20_000
    differ = [text for text in texts if LOWER.tokenize(text) != reference_ids(text)]
    assert differ == []
    assert together(LOWER, texts) == [LOWER.tokenize(text) for text in texts]


def test_a_text_is_cut_as_the_tokeniser_in_tensorflow_cuts_it():
    rng = random.Random(3)
    # Longer than what is read at once: words of letters, marks and accents stand wherever the cut falls.
    texts = ["".join(rng.choice("的酸ab\u0301 ，2\u200b中") for _ in range(rng.randrange(5000))) for _ in range(30)]
    texts += [" " * 100 + "的" * 50, "a b  " * 40, "ab" * 99]  # few tokens in many characters
    batches = [texts[:1], texts[1:20], texts[20:]]
    for most in (2, 3, 20, 2048):
        found = [LOWER.encode(text, most) for text in texts]
        ragged = tf.RaggedTensor.from_tensor(IN_TENSORFLOW.encode(tf.constant(texts), most)["token_ids"], padding=0)
        assert found == ragged.to_list()
        for batch, encoded in zip(batches, LOWER.encode_all(batches, most, PAD_ID), strict=True):
            assert encoded.tolist() == IN_TENSORFLOW.encode(tf.constant(batch), most)["token_ids"].numpy().tolist()
    assert [LOWER.tokenize(text) for text in texts] == [reference_ids(text) for text in texts]


def test_many_different_words_are_not_kept_for_ever(monkeypatch):
    monkeypatch.setattr(client, "_MOST_KEPT", 10)
    tokenizer = client.Tokenizer(VOCABULARY.tokens)
    texts = [f"ab{number} 的 x{number}" for number in range(100)]
    assert [tokenizer.tokenize(text) for text in texts] == [reference_ids(text) for text in texts]
    for cache in (tokenizer._chunks, tokenizer._stretches):
        assert 0 < len(cache) <= 10
    tokenizer.tokenize("a" * 5000)
    for cache in (tokenizer._chunks, tokenizer._stretches):
        assert max(map(len, cache)) < 100


@pytest.mark.parametrize("change", [lambda b: b, lambda b: b"\xef\xbb\xbf" + b.replace(b"\n", b"\r\n")])
def test_the_vocabulary_is_read_as_in_training(tmp_path, change):
    path = tmp_path / "vocab.txt"
    save_vocabulary(VOCABULARY, str(path))
    path.write_bytes(change(path.read_bytes()))
    assert tuple(client.read_vocabulary(path.read_bytes())) == load_vocabulary(str(path)).tokens == VOCABULARY.tokens


def test_real_sentences_equal_the_reference():
    folder, path = os.environ.get("CHEMKD_REAL_TEXT"), os.environ.get("CHEMKD_REAL_VOCAB")
    if not folder or not path:
        pytest.skip("set CHEMKD_REAL_TEXT (a folder of .txt) and CHEMKD_REAL_VOCAB (a BERT vocabulary)")
    sentences = []
    for name in sorted(glob.glob(os.path.join(folder, "*.txt"))):
        with open(name, encoding="utf-8") as file:
            sentences += [line.strip() for line in file if line.strip()]
    sentences = random.Random(1).sample(sentences, min(5000, len(sentences)))
    tokens = load_vocabulary(path).tokens
    ids = {token: index for index, token in enumerate(tokens)}
    tokenizer = client.Tokenizer(tokens)
    differ = [s for s in sentences if tokenizer.tokenize(s) != [ids[p] for p in reference_tokenizer.tokenize(s, ids)]]
    assert len(sentences) > 1000
    assert differ == []


def test_another_kind_of_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match="model.pt: neither of .onnx .tflite"):
        client.Classifier(str(tmp_path / "model.pt"))
