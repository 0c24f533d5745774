"""Old entries keep their ids; what a new entry was to the old vocabulary is told."""

import pytest
from text import reference_tokenizer

from chemkd_tf.errors import InputError
from chemkd_tf.text.vocabulary import Vocabulary, vocabulary_of
from chemkd_tf.text.vocabulary_extension import (
    Origins,
    extend,
    is_unused_slot,
    new_ids,
    require_extension,
    unused_slots,
)

OLD = Vocabulary(
    ("[PAD]", "[unused1]", "[unused2]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "酸", "碱", "[unused 99]", "na", "##o",
     "##h", "##mo", "##l", "℃", "##2", ".", "...", "工")
)  # fmt: skip


def test_unused_entries_are_googles():
    assert unused_slots(OLD) == [1, 2, 9]
    for token in ("[unused]", "unused1", "[unused1", "[UNUSED1]", "[unused1]x", "[PAD]", "[MASK]", "##[unused1]"):
        assert not is_unused_slot(token)


def test_new_entries_fill_the_unused_ones_in_order_and_then_follow_the_last():
    new = extend(OLD, ["氯", "naoh", "pvc", "##mol", "乙"])
    assert new.tokens == (
        "[PAD]", "氯", "naoh", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "酸", "碱", "pvc", "na", "##o",
        "##h", "##mo", "##l", "℃", "##2", ".", "...", "工", "##mol", "乙",
    )  # fmt: skip
    assert new_ids(OLD, new) == [1, 2, 9, 20, 21]
    require_extension(OLD, new, "old", "new")
    assert extend(OLD, []) == OLD and new_ids(OLD, OLD) == []
    require_extension(OLD, OLD, "old", "old")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tokens: tokens[:-1], "new.txt:20: expected '工', as in old.txt, it ends after 19 entries: "),
        (lambda tokens: tokens[:10] + ("nb",) + tokens[11:], "new.txt:11: expected 'na', as in old.txt, found 'nb': "),
        (lambda tokens: ("x", *tokens), r"new.txt:1: expected '\[PAD\]', as in old.txt, found 'x': "),
        (
            lambda tokens: tokens[:7] + ("碱", "酸") + tokens[9:],
            "new.txt:8: expected '酸', as in old.txt, found '碱': ",
        ),
        (lambda tokens: tokens[:8] + tokens[9:], r"new.txt:9: expected '碱', as in old.txt, found '\[unused 99\]': "),
    ],
)
def test_what_moves_an_entry_is_no_extension_and_the_first_one_is_named(change, message):
    with pytest.raises(InputError, match="^" + message + "an extension keeps") as refused:
        require_extension(OLD, Vocabulary(change(OLD.tokens)), "old.txt", "new.txt")
    assert "\n" not in str(refused.value)


def origin(token: str, old: Vocabulary = OLD) -> tuple[str, list[str]]:
    found = Origins(old).of(token)
    return found.kind, [old.tokens[index] for index in found.ids]


@pytest.mark.parametrize(
    ("token", "kind", "pieces"),
    [
        ("naoh", "pieces", ["na", "##o", "##h"]),
        ("nahh", "pieces", ["na", "##h", "##h"]),
        ("##mol", "pieces", ["##mo", "##l"]),
        ("##℃", "other_position", ["℃"]),
        ("h", "other_position", ["##h"]),
        ("##₂", "compatible_form", ["##2"]),
        ("…", "compatible_form", ["..."]),
        ("⼯", "compatible_form", ["工"]),
        ("μmol", "known_parts", ["##mo", "##l"]),
        ("氯", "ideographs", ["酸", "碱", "工"]),
        ("𠀀", "ideographs", ["酸", "碱", "工"]),
        ("—", "all_entries", [*OLD.tokens[7:9], *OLD.tokens[10:]]),
        ("##α", "all_entries", [*OLD.tokens[7:9], *OLD.tokens[10:]]),
    ],
)
def test_the_origin_of_a_new_entry(token, kind, pieces):
    assert origin(token) == (kind, pieces)


def test_the_pieces_of_a_word_are_those_that_the_tokeniser_made_of_it():
    for word in ("naoh", "nao", "nal", "hna", "酸", "℃2", "μmol"):
        pieces = reference_tokenizer.tokenize(word, set(OLD.tokens))
        if "[UNK]" not in pieces:
            assert origin(word) == ("pieces", pieces)


def test_a_vocabulary_without_ideographs_or_without_any_entry_of_its_own_still_has_a_mean():
    assert origin("氯", vocabulary_of(["a", "b"])) == ("all_entries", ["a", "b"])
    empty = vocabulary_of([])
    assert origin("氯", empty) == ("all_entries", list(empty.tokens))
