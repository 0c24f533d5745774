"""Parsing: three kinds of records, one batch contract; what doesn't fit is refused."""

import random

import numpy as np
import pytest
import tensorflow as tf
from data.record_files import (
    Sample,
    padded_features,
    random_sample,
    random_words,
    serialize,
    text,
    text_features,
    unpadded_features,
)

from chemkd_tf.data.parsing import parse_pretraining_batch, parse_unpadded_batch, parse_whole_texts

TOKENS, PREDICTIONS = 24, 5


def samples(count: int) -> list[Sample]:
    """Among them the shortest, the longest, one without and one with all masks."""
    rng = random.Random(count)
    found = [random_sample(text(row, rng.randint(1, 30)), TOKENS, PREDICTIONS, rng) for row in range(count)]
    assert {0, PREDICTIONS} <= {len(sample.positions) for sample in found}
    assert {3, TOKENS} <= {len(sample.token_ids) for sample in found}
    return found


def records(features: list[dict]) -> tf.Tensor:
    return tf.constant([serialize(of_record) for of_record in features])


def padded(found: list[Sample], pad: int = 0) -> tf.Tensor:
    return records([padded_features(sample, TOKENS, PREDICTIONS, pad) for sample in found])


def test_parsed_batches_follow_the_contract():
    found = samples(200)
    batch = parse_pretraining_batch(padded(found), TOKENS, PREDICTIONS)
    assert {name: (value.dtype, tuple(value.shape)) for name, value in batch.items()} == {
        "token_ids": (tf.int32, (200, TOKENS)),
        "segment_ids": (tf.int32, (200, TOKENS)),
        "padding_mask": (tf.int32, (200, TOKENS)),
        "mask_positions": (tf.int32, (200, PREDICTIONS)),
        "mask_ids": (tf.int32, (200, PREDICTIONS)),
        "mask_weights": (tf.float32, (200, PREDICTIONS)),
        "example_weight": (tf.float32, (200,)),
    }
    for row, sample in enumerate(found):
        length, masks = len(sample.token_ids), len(sample.positions)
        assert batch["token_ids"][row].numpy().tolist() == sample.token_ids + [0] * (TOKENS - length)
        assert batch["padding_mask"][row].numpy().tolist() == [1] * length + [0] * (TOKENS - length)
        assert batch["mask_positions"][row].numpy().tolist() == sample.positions + [0] * (PREDICTIONS - masks)
        assert batch["mask_ids"][row].numpy().tolist() == sample.mask_ids + [0] * (PREDICTIONS - masks)
        assert batch["mask_weights"][row].numpy().tolist() == [1.0] * masks + [0.0] * (PREDICTIONS - masks)
    assert batch["example_weight"].numpy().tolist() == [1.0] * 200
    assert not batch["segment_ids"].numpy().any()


@pytest.mark.parametrize("pad", [0, 7])
def test_unpadded_records_give_the_batch_of_padded_ones(pad):
    found = samples(200)
    expected = parse_pretraining_batch(padded(found, pad), TOKENS, PREDICTIONS)
    unpadded = records([unpadded_features(sample) for sample in found])
    batch = parse_unpadded_batch(unpadded, TOKENS, PREDICTIONS, pad)
    assert batch.keys() == expected.keys()
    for name, value in batch.items():
        assert value.dtype == expected[name].dtype
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


def test_a_list_without_entries_may_be_left_out():
    (batch, other) = (
        parse_unpadded_batch(records([features]), TOKENS, PREDICTIONS)
        for features in ({"input_ids": [2, 9, 3]}, unpadded_features(Sample([2, 9, 3], [], [])))
    )
    for name, value in batch.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)
    assert not batch["mask_weights"].numpy().any()


@pytest.mark.parametrize("parse", [parse_pretraining_batch, parse_unpadded_batch])
def test_the_shapes_are_known_in_a_graph(parse):
    graph = tf.function(lambda serialized: parse(serialized, TOKENS, PREDICTIONS))
    for rows in (3, None):
        outputs = graph.get_concrete_function(tf.TensorSpec([rows], tf.string)).structured_outputs
        for name, value in outputs.items():
            width = PREDICTIONS if name.startswith("mask_") else TOKENS
            assert value.shape.as_list() == ([rows] if name == "example_weight" else [rows, width]), name


@pytest.mark.parametrize(("tokens", "predictions"), [(32, PREDICTIONS), (16, PREDICTIONS), (TOKENS, 4), (TOKENS, 6)])
def test_padded_records_of_another_length_are_refused(tokens, predictions):
    with pytest.raises(tf.errors.InvalidArgumentError, match="Key: "):
        parse_pretraining_batch(padded(samples(200)), tokens, predictions)


@pytest.mark.parametrize("name", padded_features(Sample([2, 9, 3], [1], [9])))
def test_a_padded_record_that_lacks_a_feature_is_refused(name):
    features = padded_features(Sample([2, 9, 3], [1], [9]), TOKENS, PREDICTIONS)
    del features[name]
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"{name}.*required but could not be found"):
        parse_pretraining_batch(records([features]), TOKENS, PREDICTIONS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_ids": [2, *range(9, 9 + TOKENS - 1), 3]}, "input_ids. A record has more than 24: make the records"),
        ({"input_ids": []}, "input_ids. A record has less than 3"),
        ({"input_ids": [2, 3]}, "input_ids. A record has less than 3"),
        ({"masked_lm_positions": [1] * 6, "masked_lm_ids": [9] * 6}, "masked_lm_positions. A record has more than 5"),
        ({"masked_lm_ids": [9, 9]}, "masked_lm_ids. A record has not as many as masked_lm_positions"),
        ({"masked_lm_positions": []}, "masked_lm_ids. A record has not as many as masked_lm_positions"),
        ({"input_ids": [2.0, 9.0, 3.0]}, "input_ids"),
    ],
)
def test_unpadded_records_that_cannot_be_are_refused(changes, message):
    good = unpadded_features(Sample([2, 9, 3], [1], [9]))
    assert parse_unpadded_batch(records([good]), TOKENS, PREDICTIONS)["mask_weights"].numpy().sum() == 1
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        parse_unpadded_batch(records([good, good | changes]), TOKENS, PREDICTIONS)


def test_whole_texts_come_back_as_they_are():
    rng = random.Random(1)
    texts = [text(row, rng.randint(1, 60)) for row in range(50)]
    words = [random_words(len(token_ids), rng) for token_ids in texts]
    token_ids, word_lengths = parse_whole_texts(records([*map(text_features, texts, words)]), whole_words=True)
    assert (token_ids.to_list(), word_lengths.to_list()) == (texts, words)
    assert token_ids.dtype == word_lengths.dtype == tf.int32
    token_ids, nothing = parse_whole_texts(records([*map(text_features, texts)]), whole_words=False)
    assert (token_ids.to_list(), nothing) == (texts, None)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"input_ids": [], "word_lengths": []}, "input_ids. A record has none"),
        ({"word_lengths": [1]}, "input_ids. A record has none"),
        ({"input_ids": [9, 9, 9]}, "word_lengths. A record has not as long together as input_ids"),
        ({"input_ids": [9, 9, 9], "word_lengths": [1, 1]}, "word_lengths. A record has not as long together"),
        ({"input_ids": [9, 9, 9], "word_lengths": [2, 2]}, "word_lengths. A record has not as long together"),
        ({"input_ids": [9, 9, 9], "word_lengths": [3, 0]}, "word_lengths. A record has a word without tokens"),
    ],
)
def test_whole_texts_that_cannot_be_are_refused(features, message):
    good = text_features([9, 9, 9], [1, 2])
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        parse_whole_texts(records([good, features]), whole_words=True)


@pytest.mark.parametrize(
    "parse",
    [
        lambda serialized: parse_pretraining_batch(serialized, TOKENS, PREDICTIONS),
        lambda serialized: parse_unpadded_batch(serialized, TOKENS, PREDICTIONS),
        lambda serialized: parse_whole_texts(serialized, whole_words=True),
    ],
)
def test_what_is_no_record_is_refused(parse):
    with pytest.raises(tf.errors.InvalidArgumentError, match="Could not parse example input"):
        parse(tf.constant([b"no record"]))
