import numpy as np
import pytest
import tensorflow as tf

from chemkd_tf.data.masking import MaskedSamples
from chemkd_tf.data.records import RecordEncoder
from chemkd_tf.data.samples import Samples
from chemkd_tf.data.tfrecords import frame_records
from chemkd_tf.text.vocabulary import Vocabulary, vocabulary_of


def vocabulary_of_size(size: int) -> Vocabulary:
    """Specials stand last, so that their ids take as many bytes as ids can."""
    return Vocabulary((*(f"w{index}" for index in range(size - 5)), *vocabulary_of([]).tokens))


def random_samples(count: int, budget: int, predictions: int, vocabulary_size: int) -> MaskedSamples:
    rng = np.random.default_rng(count)
    lengths = rng.integers(1, budget + 1, count)
    num_predictions = np.minimum(rng.integers(0, predictions + 1, count), lengths)
    positions = [
        np.sort(rng.permutation(length)[:number]) + 1 for length, number in zip(lengths, num_predictions, strict=True)
    ]
    return MaskedSamples(
        token_ids=rng.integers(0, vocabulary_size, lengths.sum()).astype(np.int32),
        splits=np.append(0, np.cumsum(lengths)),
        positions=np.concatenate(positions),
        label_ids=rng.integers(0, vocabulary_size, num_predictions.sum()).astype(np.int32),
        num_predictions=num_predictions,
    )


def integers(values) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[int(value) for value in values]))


def example_of(features: dict) -> tf.train.Example:
    return tf.train.Example(features=tf.train.Features(feature=features))


def assert_same(record: bytes, expected: tf.train.Example) -> None:
    assert tf.train.Example.FromString(record) == expected
    assert record == expected.SerializeToString(deterministic=True)


@pytest.mark.parametrize("write_nsp_labels", [False, True])
@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize(
    ("tokens", "predictions", "vocabulary_size"),
    [(3, 1, 6), (16, 4, 100), (128, 20, 21128), (512, 76, 21128), (300, 20, 250_000), (130, 20, 50)],
)
def test_the_bytes_are_those_of_tf_train_example(tokens, predictions, vocabulary_size, padded, write_nsp_labels):
    vocabulary = vocabulary_of_size(vocabulary_size)
    samples = random_samples(40, tokens - 2, predictions, vocabulary_size)
    records = RecordEncoder(vocabulary, tokens, predictions, padded, write_nsp_labels).encode_masked(samples)
    assert len(records) == 40
    first_mask = 0
    for row, record in enumerate(records):
        ids = samples.token_ids[samples.splits[row] : samples.splits[row + 1]].tolist()
        ids = [vocabulary.start_id, *ids, vocabulary.end_id]
        real = int(samples.num_predictions[row])
        positions = samples.positions[first_mask : first_mask + real].tolist()
        labels = samples.label_ids[first_mask : first_mask + real].tolist()
        first_mask += real
        if padded:
            # The names and types of google-research/bert.
            missing, free = tokens - len(ids), predictions - real
            features = {
                "input_ids": integers(ids + [0] * missing),
                "input_mask": integers([1] * len(ids) + [0] * missing),
                "segment_ids": integers([0] * tokens),
                "masked_lm_positions": integers(positions + [0] * free),
                "masked_lm_ids": integers(labels + [0] * free),
                "masked_lm_weights": tf.train.Feature(float_list=tf.train.FloatList(value=[1.0] * real + [0.0] * free)),
            }
            if write_nsp_labels:
                features["next_sentence_labels"] = integers([0])
            assert_same(record, example_of(features))
        else:
            # Packed lists without an entry are written as such; TensorFlow's classes leave them out.
            parsed = tf.train.Example.FromString(record).features.feature
            assert {name: list(value.int64_list.value) for name, value in parsed.items()} == {
                "input_ids": ids,
                "masked_lm_positions": positions,
                "masked_lm_ids": labels,
            }


@pytest.mark.parametrize("whole_words", [False, True])
def test_unmasked_samples_come_whole_with_the_lengths_of_their_words(whole_words):
    rng = np.random.default_rng(7)
    lengths = [1, 300, 5, 40]
    unit_starts = rng.random(sum(lengths)) < 0.02
    token_ids = rng.integers(5, 21128, sum(lengths)).astype(np.uint16)
    splits = np.append(0, np.cumsum(lengths))
    samples = Samples(token_ids, splits, unit_starts if whole_words else None)
    records = RecordEncoder(vocabulary_of_size(21128), 16, 4).encode_unmasked(samples)
    for row, record in enumerate(records):
        own = slice(splits[row], splits[row + 1])
        features = {"input_ids": integers(token_ids[own])}
        if whole_words:
            words: list[int] = []
            for index in range(own.start, own.stop):
                if index == own.start or unit_starts[index]:
                    words.append(0)
                words[-1] += 1
            features["word_lengths"] = integers(words)
        assert_same(record, example_of(features))


def test_tensorflow_reads_and_writes_the_same_file(tmp_path):
    records = [b"", b"x", bytes(range(256)) * 300, b"x"]
    path, theirs = str(tmp_path / "ours"), str(tmp_path / "theirs")
    with open(path, "wb") as file:
        file.write(frame_records(records[:1]) + frame_records(records[1:]))
    assert list(tf.data.TFRecordDataset(path).as_numpy_iterator()) == records
    with tf.io.TFRecordWriter(theirs) as writer:
        for record in records:
            writer.write(record)
    with open(path, "rb") as ours, open(theirs, "rb") as file:
        assert ours.read() == file.read()
    assert frame_records([]) == b""
