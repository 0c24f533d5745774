import numpy as np
import pytest
import tensorflow as tf

from chemkd_tf.data.masking import MaskedSamples
from chemkd_tf.data.records import encode_records, parse_pretraining_batch


def random_samples(count: int, tokens: int, predictions: int, vocabulary_size: int) -> MaskedSamples:
    rng = np.random.default_rng(count)
    return MaskedSamples(
        input_ids=rng.integers(0, vocabulary_size, (count, tokens)).astype(np.int32),
        lengths=rng.integers(3, tokens + 1, count),
        positions=rng.integers(0, tokens, (count, predictions)).astype(np.int32),
        label_ids=rng.integers(0, vocabulary_size, (count, predictions)).astype(np.int32),
        num_predictions=rng.integers(0, predictions + 1, count),
    )


def example_of(samples: MaskedSamples, row: int, write_nsp_labels: bool) -> tf.train.Example:
    """The same record by TensorFlow's own classes, with the names and types of google-research/bert."""

    def integers(values):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[int(value) for value in values]))

    tokens, predictions = samples.input_ids.shape[1], samples.positions.shape[1]
    length, real = int(samples.lengths[row]), int(samples.num_predictions[row])
    weights = [1.0] * real + [0.0] * (predictions - real)
    features = {
        "input_ids": integers(samples.input_ids[row]),
        "input_mask": integers([1] * length + [0] * (tokens - length)),
        "segment_ids": integers([0] * tokens),
        "masked_lm_positions": integers(samples.positions[row]),
        "masked_lm_ids": integers(samples.label_ids[row]),
        "masked_lm_weights": tf.train.Feature(float_list=tf.train.FloatList(value=weights)),
    }
    if write_nsp_labels:
        features["next_sentence_labels"] = integers([0])
    return tf.train.Example(features=tf.train.Features(feature=features))


@pytest.mark.parametrize("write_nsp_labels", [False, True])
@pytest.mark.parametrize(
    ("tokens", "predictions", "vocabulary_size"),
    [(3, 1, 2), (16, 4, 100), (128, 20, 21128), (512, 76, 21128), (300, 20, 250_000), (64, 5, 2**31 - 1)],
)
def test_the_bytes_are_those_of_tf_train_example(tokens, predictions, vocabulary_size, write_nsp_labels):
    samples = random_samples(40, tokens, predictions, vocabulary_size)
    records = encode_records(samples, write_nsp_labels)
    assert len(records) == 40
    for row, record in enumerate(records):
        expected = example_of(samples, row, write_nsp_labels)
        assert tf.train.Example.FromString(record) == expected
        assert record == expected.SerializeToString(deterministic=True)


def test_parsed_batches_follow_the_contract():
    samples = random_samples(5, 16, 4, 100)
    batch = parse_pretraining_batch(tf.constant(encode_records(samples)), 16, 4)
    assert {name: (value.dtype, tuple(value.shape)) for name, value in batch.items()} == {
        "token_ids": (tf.int32, (5, 16)),
        "segment_ids": (tf.int32, (5, 16)),
        "padding_mask": (tf.int32, (5, 16)),
        "mask_positions": (tf.int32, (5, 4)),
        "mask_ids": (tf.int32, (5, 4)),
        "mask_weights": (tf.float32, (5, 4)),
        "example_weight": (tf.float32, (5,)),
    }
    assert (batch["token_ids"].numpy() == samples.input_ids).all()
    assert (batch["padding_mask"].numpy().sum(axis=1) == samples.lengths).all()
    assert (batch["mask_positions"].numpy() == samples.positions).all()
    assert (batch["mask_ids"].numpy() == samples.label_ids).all()
    assert (batch["mask_weights"].numpy().sum(axis=1) == samples.num_predictions).all()
    assert batch["example_weight"].numpy().tolist() == [1.0] * 5


def test_records_of_another_length_are_refused():
    records = tf.constant(encode_records(random_samples(2, 16, 4, 100)))
    with pytest.raises(tf.errors.InvalidArgumentError, match="Key: "):
        parse_pretraining_batch(records, 32, 4)
