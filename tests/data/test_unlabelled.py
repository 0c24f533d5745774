"""Articles as unlabelled texts: how they are read, and that every one is as likely to be drawn."""

import collections

import numpy as np
import pytest

from chemkd_tf.data.datasets import EncodedTexts, labelled_batches
from chemkd_tf.data.unlabelled import read_articles, sample_articles
from chemkd_tf.errors import InputError


def test_sentences_of_an_article_are_joined_and_files_end_articles(tmp_path):
    (tmp_path / "a.txt").write_text("\n甲。\n 乙。\n\n\n丙。", encoding="utf-8")
    (tmp_path / "b.txt").write_text("丁。\r\n \r\n戊。\n", encoding="utf-8")
    assert list(read_articles(f"{tmp_path}/*.txt")) == ["甲。乙。", "丙。", "丁。", "戊。"]


def test_invalid_utf_8_is_named_with_file_and_line(tmp_path):
    (tmp_path / "a.txt").write_bytes("甲。\n".encode() + b"\xff\n")
    with pytest.raises(InputError, match=r"a.txt, line 2: not UTF-8"):
        sample_articles(f"{tmp_path}/a.txt", 3, 1)


def test_all_are_drawn_where_there_is_room_else_each_as_likely(tmp_path):
    (tmp_path / "a.txt").write_text("".join(f"{number}\n\n" for number in range(12)), encoding="utf-8")
    path = f"{tmp_path}/a.txt"
    assert sample_articles(path, 20, 1) == [str(number) for number in range(12)]
    assert sample_articles(path, 4, 1) == sample_articles(path, 4, 1)
    counts = collections.Counter(text for seed in range(1500) for text in set(sample_articles(path, 4, seed)))
    assert sum(counts.values()) == 6000  # none twice in one draw
    assert set(counts) == {str(number) for number in range(12)}
    assert max(abs(count - 500) for count in counts.values()) < 80  # 4 standard deviations of 18


def examples(first, number):
    rows = np.zeros((number, 6), np.int32)
    rows[:, :3] = np.arange(first, first + number)[:, None]
    return EncodedTexts(rows, np.full(number, 3, np.int32), np.full(number, 1, np.int32))


def batches(first=0, replicas=1, unlabelled_batch_size=3):
    return list(
        labelled_batches(
            examples(10, 5), 2, 7, 6, first, replicas, None, examples(50, 8), unlabelled_batch_size
        ).as_numpy_iterator()
    )


def test_unlabelled_texts_follow_the_labelled_ones_in_every_batch():
    whole = batches()
    assert len(whole) == 6
    for batch in whole:
        assert batch["has_label"].tolist() == [1, 1, 0, 0, 0]
        assert batch["example_weight"].tolist() == [1] * 5
        assert batch["token_ids"].shape == (5, 3)
        assert (batch["token_ids"][:2, 0] < 15).all() and (batch["token_ids"][2:, 0] >= 50).all()
    drawn = [token for batch in whole for token in batch["token_ids"][2:, 0].tolist()]
    assert sorted(drawn[:8]) == sorted(drawn[8:16]) == list(range(50, 58))  # each once in an epoch of its own
    labelled = [token for batch in whole for token in batch["token_ids"][:2, 0].tolist()]
    assert sorted(labelled[:5]) == sorted(labelled[5:10]) == list(range(10, 15))


def test_a_resumed_run_and_two_replicas_see_the_same_texts():
    whole = batches()
    for batch, expected in zip(batches(first=4), whole[4:], strict=True):
        for name in expected:
            np.testing.assert_array_equal(batch[name], expected[name])
    for batch, expected in zip(batches(replicas=2), whole, strict=True):
        assert batch["example_weight"].tolist() == [1] * 5 + [0]
        np.testing.assert_array_equal(batch["token_ids"][:5], expected["token_ids"])


@pytest.mark.parametrize("group_by_length", [False, True])
def test_a_teachers_answers_follow_their_texts(group_by_length):
    logits = np.stack([np.arange(8), -np.arange(8)], axis=1)
    # Of six tokens a text has three: states of the others are cut off with them.
    hidden = np.arange(8)[:, None, None] * np.ones((8, 6, 2))
    scores = np.arange(8)[:, None, None, None] * np.ones((8, 1, 6, 6))
    taught = {"taught_logits": logits, "taught_hidden_1": hidden, "taught_attention_scores_1": scores}
    unlabelled = examples(50, 8)._replace(taught=taught)
    found = labelled_batches(
        examples(10, 5), 2, 7, 6, 0, 2, None, unlabelled, 3, group_by_length=group_by_length
    ).as_numpy_iterator()
    for batch in found:
        answers = batch["taught_logits"]
        assert answers.dtype == np.float32
        np.testing.assert_array_equal(answers[:2], np.zeros((2, 2)))
        numbers = batch["token_ids"][2:5, 0] - 50
        np.testing.assert_array_equal(answers[2:5], np.stack([numbers, -numbers], axis=1))
        tokens = batch["token_ids"].shape[1]
        assert tokens < 6
        assert batch["taught_hidden_1"].shape == (6, tokens, 2)
        assert batch["taught_attention_scores_1"].shape == (6, 1, tokens, tokens)
        np.testing.assert_array_equal(batch["taught_hidden_1"][2:5, 0, 0], numbers)
        np.testing.assert_array_equal(batch["taught_attention_scores_1"][2:5, 0, -1, -1], numbers)
