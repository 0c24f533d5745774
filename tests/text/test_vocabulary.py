import hashlib

import pytest

from chemkd_tf.errors import InputError
from chemkd_tf.text.vocabulary import Vocabulary, load_vocabulary, save_vocabulary, vocabulary_of

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def write(tmp_path, content: bytes) -> str:
    path = tmp_path / "vocab.txt"
    path.write_bytes(content)
    return str(path)


def test_the_line_number_is_the_id(tmp_path):
    vocabulary = load_vocabulary(write(tmp_path, "酸\n[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n##酸".encode()))
    assert vocabulary.size == 7
    assert (vocabulary.pad_id, vocabulary.unknown_id, vocabulary.start_id) == (1, 2, 3)
    assert (vocabulary.end_id, vocabulary.mask_id) == (4, 5)
    assert vocabulary.id_of("酸") == 0 and vocabulary.id_of("##酸") == 6 and vocabulary.id_of("碱") == 2
    expected = hashlib.sha256("酸\n[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n##酸".encode()).hexdigest()
    assert vocabulary.sha256 == expected


def test_crlf_and_a_byte_order_mark_change_nothing(tmp_path):
    lines = [*SPECIAL, "酸", "\u2028"]  # Google's own Chinese vocabulary has a line separator as an entry.
    plain = load_vocabulary(write(tmp_path, "\n".join(lines).encode()))
    windows = load_vocabulary(write(tmp_path, b"\xef\xbb\xbf" + "".join(f"{line}\r\n" for line in lines).encode()))
    assert plain == windows and plain.tokens == tuple(lines)


def test_saved_and_loaded_it_is_the_same(tmp_path):
    vocabulary = vocabulary_of(["酸", "##a", "\u2028"])
    path = str(tmp_path / "made" / "vocab.txt")
    save_vocabulary(vocabulary, path)
    assert load_vocabulary(path) == vocabulary


@pytest.mark.parametrize("missing", SPECIAL)
def test_a_missing_special_token_is_named(tmp_path, missing):
    path = write(tmp_path, "\n".join(token for token in SPECIAL if token != missing).encode())
    with pytest.raises(InputError) as caught:
        load_vocabulary(path)
    assert path in str(caught.value) and f"no {missing}" in str(caught.value)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([*SPECIAL, "a", "b", "a"], ":8: 'a' stands on line 6"),
        ([*SPECIAL, "", "b"], ":6: empty line"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path, lines, expected):
    with pytest.raises(InputError, match=expected):
        load_vocabulary(write(tmp_path, "\n".join(lines).encode()))


def test_invalid_utf8_is_named_with_its_line(tmp_path):
    with pytest.raises(InputError, match=":6: not UTF-8"):
        load_vocabulary(write(tmp_path, "\n".join(SPECIAL).encode() + b"\n\xcb\xe1\n"))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere.txt: can't read"):
        load_vocabulary(str(tmp_path / "nowhere.txt"))


def test_a_vocabulary_made_in_memory_is_checked_too():
    with pytest.raises(InputError, match=r"no \[MASK\]"):
        Vocabulary(("[PAD]", "[UNK]", "[CLS]", "[SEP]"))
    with pytest.raises(InputError, match="'a' twice"):
        vocabulary_of(["a", "a"])
