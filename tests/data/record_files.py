"""Records of every kind, written with tf.train.Example and plain lists, for tests of what reads them."""

import dataclasses
import random
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from chemkd_tf.data.manifest import Manifest, RecordFormat

PAD, START, END, MASK, FIRST = 0, 2, 3, 4, 5  # ids; FIRST is the first that text may have
TOKENS, PREDICTIONS = 16, 4
MOST_IN_TEXT = 64
PADDED = RecordFormat(max_seq_length=TOKENS, max_predictions_per_seq=PREDICTIONS, vocabulary_sha256="", padded=True)
DYNAMIC = dataclasses.replace(
    PADDED,
    masking="dynamic",
    special_ids=(("end", END), ("mask", MASK), ("pad", PAD), ("start", START)),
    vocabulary_size=10_000,
)
FORMATS = {
    "padded": PADDED,
    "unpadded": dataclasses.replace(PADDED, padded=False),
    "dynamic": DYNAMIC,
    "whole_words": dataclasses.replace(DYNAMIC, whole_words=True),
}


class Sample(NamedTuple):
    """A masked sample: `[CLS] tokens [SEP]`, where masks are and what they hide."""

    token_ids: list[int]
    positions: list[int]
    mask_ids: list[int]


def text(number: int, length: int) -> list[int]:
    """The tokens of text `number`: consecutive ids that no other text has, so that a window tells which text it is."""
    first = FIRST + number * MOST_IN_TEXT
    return list(range(first, first + length))


def number_of(token_ids: list[int]) -> int:
    """Which text a window is of."""
    return (token_ids[0] - FIRST) // MOST_IN_TEXT


def random_sample(token_ids: list[int], tokens: int, predictions: int, rng: random.Random) -> Sample:
    """A sample of the text's first tokens with any number of masks."""
    now = [START, *token_ids[: tokens - 2], END]
    masks = rng.randint(0, min(predictions, len(now) - 2))
    positions = sorted(rng.sample(range(1, len(now) - 1), masks))
    mask_ids = [now[position] for position in positions]
    for position in positions:
        now[position] = MASK
    return Sample(now, positions, mask_ids)


def padded_features(sample: Sample, tokens: int = TOKENS, predictions: int = PREDICTIONS, pad: int = PAD) -> dict:
    """google-research/bert's features of a sample."""
    length, masks = len(sample.token_ids), len(sample.positions)
    return {
        "input_ids": sample.token_ids + [pad] * (tokens - length),
        "input_mask": [1] * length + [0] * (tokens - length),
        "segment_ids": [0] * tokens,
        "masked_lm_positions": sample.positions + [0] * (predictions - masks),
        "masked_lm_ids": sample.mask_ids + [0] * (predictions - masks),
        "masked_lm_weights": [1.0] * masks + [0.0] * (predictions - masks),
    }


def unpadded_features(sample: Sample) -> dict:
    """The features of a sample without what can be known."""
    return {
        "input_ids": sample.token_ids,
        "masked_lm_positions": sample.positions,
        "masked_lm_ids": sample.mask_ids,
    }


def text_features(token_ids: list[int], word_lengths: list[int] | None = None) -> dict:
    """The features of a text that is neither cut nor masked."""
    return {"input_ids": token_ids} | ({} if word_lengths is None else {"word_lengths": word_lengths})


def random_words(length: int, rng: random.Random) -> list[int]:
    """Lengths of words that are `length` tokens together."""
    lengths = []
    while sum(lengths) < length:
        lengths.append(min(rng.choice([1, 1, 2, 2, 3]), length - sum(lengths)))
    return lengths


def features_of(record_format: RecordFormat, token_ids: list[int], rng: random.Random) -> dict:
    """The features of a text in a format of 16 tokens and 4 predictions."""
    if record_format.masking == "dynamic":
        return text_features(token_ids, random_words(len(token_ids), rng) if record_format.whole_words else None)
    sample = random_sample(token_ids, TOKENS, PREDICTIONS, rng)
    return padded_features(sample) if record_format.padded else unpadded_features(sample)


def serialize(features: dict[str, list]) -> bytes:
    """A record."""

    def feature(values):
        if values and isinstance(values[0], float):
            return tf.train.Feature(float_list=tf.train.FloatList(value=values))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    example = tf.train.Example(
        features=tf.train.Features(feature={name: feature(values) for name, values in features.items()})
    )
    return example.SerializeToString()


def write_records(prefix: str, records: list[bytes], record_format: RecordFormat, num_shards: int = 1) -> Manifest:
    """Writes records to files, one after the other; returns what a manifest would say of them."""
    shards = [records[shard::num_shards] for shard in range(num_shards)]
    paths = [f"{prefix}-{shard:05d}-of-{num_shards:05d}" for shard in range(num_shards)]
    for path, content in zip(paths, shards, strict=True):
        with tf.io.TFRecordWriter(path) as writer:
            for record in content:
                writer.write(record)
    return Manifest(tuple(paths), tuple(map(len, shards)), record_format)


def assert_same(found: list[dict], expected: list[dict]) -> None:
    """Two lists of batches hold the same arrays."""
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)
