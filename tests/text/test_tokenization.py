"""Token ids equal google-research/bert's, by a restatement of its rules (reference_tokenizer)."""

import glob
import os
import random
import subprocess
import sys
import unicodedata

import pytest
import tensorflow as tf
from text import reference_tokenizer

from chemkd_tf.text.tokenization import BertTokenizer
from chemkd_tf.text.vocabulary import load_vocabulary, vocabulary_of

# Enough entries for words, pieces, accents and symbols; "[unused1]" and "##。" can't be reached.
PIECES = (
    "的 一 是 在 中 化 学 豈 豈 度 酸 a b c x h 2 so 4 na ##oh ##2 ##so ##4 ##a ##b ##x ##℃ ℃ 15 un ##used ##1 "
    "mask sep cls e ##e i σ ς ##ς ##σ ο ##ο d ##d don t mail $ + = < > ^ ` | ~ [ ] # ( ) （ ） ， 。 . - @ 、 “ ” "
    "ア ##ア 가 ᄀ ##ᅡ [unused1] ##。 A B ##B É C ##C E ##E S ##O ##4 N ##a"
).split()
VOCABULARY = vocabulary_of(dict.fromkeys(PIECES))
IDS = {token: index for index, token in enumerate(VOCABULARY.tokens)}

HARD = {
    "nothing": "",
    "white space only": " \t\u3000\u00a0 \n",
    "literal special tokens": "[MASK] [SEP][CLS] [PAD] [UNK] [unused1]",
    "every space": "a\u3000a\u00a0b\u2028c\u2029a\tb\r\nc\u2003a",
    "control and format characters": "a\u200bb\ufeff\x00c\ufffda \x0b\x85\u00ada\x7fb",
    "lone accents": "\u0301 \u0301\u0301 a\u0301",
    "200 characters": "a" * 200,
    "201 characters": "a" * 201,
    "200 characters of 4 bytes": "b " + "𝒳" * 200 + " c",
    "201 characters of 4 bytes": "𝒳" * 201 + "中",
    "accents do not count": "a\u0301" * 200,
    "accented and too long": "é" * 201,
    "kana": "ア" * 201 + "。" + "ア" * 200,
    "long among punctuation": "，" * 300 + "a" * 201 + "。" + "b" * 200,
    "far too long": "x" * 5000 + " x",
    "ideographs have no length": "的" * 300,
    "Turkish I": "İ I ı i",
    "final sigma": "ΟΣ ΣΟ Σ ΟΣ. Ο.Σ ΟΣ中",
    "formulae": "15℃ H2SO4 NaOH C2H5OH",
    "full width": "Ｈ２，（ａ） 、“”",
    "compatibility ideographs": "豈更\U0002f800",
    "number signs": "##a ##的 # # ##",
    "symbols": "don't e-mail@x.y $5+3=8 ^`|~<>",
    "hangul": "가 한국어",
    "outside the basic plane": "\U00020000\U0002b820a\U0001f600b",
}


def reference_ids(text: str | bytes, ids: dict[str, int], do_lower_case: bool = True) -> list[int]:
    return [ids[piece] for piece in reference_tokenizer.tokenize(text, ids, do_lower_case)]


@pytest.mark.parametrize("do_lower_case", [True, False])
@pytest.mark.parametrize("text", HARD.values(), ids=HARD.keys())
def test_hard_cases_equal_the_reference(text, do_lower_case):
    tokenizer = BertTokenizer(VOCABULARY, do_lower_case)
    assert tokenizer.tokenize(tf.constant([text])).to_list() == [reference_ids(text, IDS, do_lower_case)]


def test_golden_pieces():
    tokenizer = BertTokenizer(VOCABULARY)
    ids = tokenizer.tokenize(["H2SO4 15℃，NaOH（[MASK]）é"]).to_list()[0]
    pieces = [VOCABULARY.tokens[index] for index in ids]
    assert pieces == ["h", "##2", "##so", "##4", "15", "##℃", "，", "na", "##oh", "（", "[", "mask", "]", "）", "e"]


@pytest.mark.parametrize("do_lower_case", [True, False])
def test_random_bytes_equal_the_reference(do_lower_case):
    rng = random.Random(7)
    pool = [0xE4, 0xB8, 0xAD, 0x61, 0x20, 0xF0, 0xED, 0xC3]
    texts = [bytes(rng.choice([rng.randrange(256), *pool]) for _ in range(30)) for _ in range(2000)]
    found = BertTokenizer(VOCABULARY, do_lower_case).tokenize(tf.constant(texts)).to_list()
    assert found == [reference_ids(text, IDS, do_lower_case) for text in texts]


def test_every_assigned_character_splits_as_the_reference_does():
    # Characters that Python's tables don't know may be known to TensorFlow's newer ones.
    tokenizer = BertTokenizer(vocabulary_of(["a", "##b", "b"]), do_lower_case=False)
    characters = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) not in ("Cn", "Cs", "Co")]
    lengths = tokenizer.tokenize(tf.constant([f"a{character}a" for character in characters])).row_lengths().numpy()
    expected = [len(reference_tokenizer.words(f"a{character}a", do_lower_case=False)) for character in characters]
    wrong = [hex(ord(c)) for c, found, right in zip(characters, lengths, expected, strict=True) if found != right]
    assert wrong == []


def test_real_sentences_equal_the_reference():
    folder, path = os.environ.get("CHEMKD_REAL_TEXT"), os.environ.get("CHEMKD_REAL_VOCAB")
    if not folder or not path:
        pytest.skip("set CHEMKD_REAL_TEXT (a folder of .txt) and CHEMKD_REAL_VOCAB (a BERT vocabulary)")
    sentences = []
    for name in sorted(glob.glob(os.path.join(folder, "*.txt"))):
        with open(name, encoding="utf-8") as file:
            sentences += [line.strip() for line in file if line.strip()]
    sentences = random.Random(1).sample(sentences, min(5000, len(sentences)))
    vocabulary = load_vocabulary(path)
    ids = {token: index for index, token in enumerate(vocabulary.tokens)}
    found = BertTokenizer(vocabulary).tokenize(tf.constant(sentences)).to_list()
    differ = [s for s, row in zip(sentences, found, strict=True) if row != reference_ids(s, ids)]
    assert len(sentences) > 1000
    assert differ == []


def test_encode_pads_to_the_longest_row_and_cuts_at_the_end():
    tokenizer = BertTokenizer(VOCABULARY)
    batch = tokenizer.encode(["", "a b", "a b c a b c"], max_seq_length=6)
    start, end, pad = VOCABULARY.start_id, VOCABULARY.end_id, VOCABULARY.pad_id
    a, b, c = (IDS[letter] for letter in "abc")
    assert batch["token_ids"].numpy().tolist() == [
        [start, end, pad, pad, pad, pad],
        [start, a, b, end, pad, pad],
        [start, a, b, c, a, end],
    ]
    assert batch["padding_mask"].numpy().tolist() == [[1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0], [1] * 6]
    assert batch["segment_ids"].numpy().tolist() == [[0] * 6] * 3
    assert {value.dtype for value in batch.values()} == {tf.int32}
    assert tokenizer.encode(["a", ""], max_seq_length=6)["token_ids"].shape == (2, 3)
    assert tokenizer.encode(["a", ""], max_seq_length=6, pad_to_max=True)["token_ids"].shape == (2, 6)


def test_offsets_point_into_the_normalised_text():
    ids, starts, ends, normalized = BertTokenizer(VOCABULARY).tokenize_with_offsets(["É 15℃ 中zz。"])
    text = normalized.numpy()[0]
    spans = [text[s:e].decode() for s, e in zip(starts.to_list()[0], ends.to_list()[0], strict=True)]
    assert spans == ["e", "15", "℃", "中", "zz", "。"]
    assert ids.to_list()[0][4] == VOCABULARY.unknown_id


@pytest.mark.slow
def test_tokenises_in_a_saved_model_without_this_package(tmp_path):
    class Served(tf.Module):
        def __init__(self):
            super().__init__()
            self.tokenizer = BertTokenizer(VOCABULARY)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="texts")])
        def serve(self, texts):
            return self.tokenizer.encode(texts, 16)

    served = Served()
    path = str(tmp_path / "served")
    tf.saved_model.save(served, path, signatures={"serving_default": served.serve})
    texts = [text.encode() for text in HARD.values()] + [b"\xff\xe4\xb8a"]
    expected = served.serve(tf.constant(texts))["token_ids"].numpy().tolist()
    # The Turkish locale has another lower-case I, which TensorFlow's op follows.
    program = (
        "import sys, tensorflow as tf, tensorflow_text\n"
        f"texts = {texts!r}\n"
        f"signature = tf.saved_model.load({path!r}).signatures['serving_default']\n"
        f"assert signature(texts=tf.constant(texts))['token_ids'].numpy().tolist() == {expected!r}\n"
        "assert not any(name.startswith('chemkd_tf') for name in sys.modules)\n"
    )
    environment = os.environ | {"LC_ALL": "tr_TR.UTF-8"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
