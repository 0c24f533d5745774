"""The TFRecord schema of masked samples: google-research/bert's names outside, the batch contract inside.

`encode_records` writes the bytes of tf.train.Example itself, many samples at a time: building one Python object a
token would cost more than everything else in data preparation. tests/data/test_records.py compares with
tf.train.Example.
"""

import numpy as np
import tensorflow as tf

from chemkd_tf.data.masking import MaskedSamples

# Name in the file, name in the batch, type in the batch, per token (T) or per prediction (P).
SCHEMA = (
    ("input_ids", "token_ids", tf.int32, "T"),
    ("input_mask", "padding_mask", tf.int32, "T"),
    ("segment_ids", "segment_ids", tf.int32, "T"),
    ("masked_lm_positions", "mask_positions", tf.int32, "P"),
    ("masked_lm_ids", "mask_ids", tf.int32, "P"),
    ("masked_lm_weights", "mask_weights", tf.float32, "P"),
)
NEXT_SENTENCE = "next_sentence_labels"  # int64 [1], always 0; only google-research/bert's reader wants it.


def parse_pretraining_batch(
    serialized: tf.Tensor, max_seq_length: int, max_predictions_per_seq: int
) -> dict[str, tf.Tensor]:
    """Parses a batch of records into the batch contract.

    Args:
        serialized: string [B], tf.train.Example each.
        max_seq_length: T of the records.
        max_predictions_per_seq: P of the records.

    Returns:
        `token_ids`, `segment_ids`, `padding_mask` int32 [B, T]; `mask_positions`, `mask_ids` int32 [B, P];
        `mask_weights` float32 [B, P]; `example_weight` float32 [B], all 1.

    Raises:
        tf.errors.InvalidArgumentError: if a record lacks a feature or was written with another T or P.
    """
    sizes = {"T": max_seq_length, "P": max_predictions_per_seq}
    features = {
        stored: tf.io.FixedLenFeature([sizes[size]], tf.float32 if dtype == tf.float32 else tf.int64)
        for stored, _, dtype, size in SCHEMA
    }
    parsed = tf.io.parse_example(serialized, features)
    batch = {name: tf.cast(parsed[stored], dtype) for stored, name, dtype, _ in SCHEMA}
    batch["example_weight"] = tf.ones_like(serialized, tf.float32)
    return batch


def encode_records(samples: MaskedSamples, write_nsp_labels: bool = False) -> list[bytes]:
    """Serialises samples as tf.train.Example, features in alphabetical order.

    Args:
        samples: S masked samples.
        write_nsp_labels: add `next_sentence_labels` = [0].

    Returns:
        S byte strings.
    """
    length_count = samples.input_ids.shape[1] + 1
    prediction_count = samples.positions.shape[1] + 1
    input_ids = _int64_features("input_ids", samples.input_ids)
    positions = _int64_features("masked_lm_positions", samples.positions)
    label_ids = _int64_features("masked_lm_ids", samples.label_ids)
    # One for each length, or for each number of predictions, that can occur.
    input_masks = _int64_features("input_mask", np.tri(length_count, length_count - 1, -1, dtype=np.int64))
    segment_ids = _int64_features("segment_ids", np.zeros((1, length_count - 1), np.int64))[0]
    weights = [
        _feature("masked_lm_weights", 2, row.tobytes())
        for row in np.tri(prediction_count, prediction_count - 1, -1, dtype="<f4")
    ]
    next_sentence = _int64_features(NEXT_SENTENCE, np.zeros((1, 1), np.int64))[0] if write_nsp_labels else b""
    constant = next_sentence + segment_ids
    records = []
    for index, (length, predictions) in enumerate(
        zip(samples.lengths.tolist(), samples.num_predictions.tolist(), strict=True)
    ):
        features = b"".join(
            (input_ids[index], input_masks[length], label_ids[index], positions[index], weights[predictions], constant)
        )
        records.append(b"\n" + _varint(len(features)) + features)
    return records


def _int64_features(name: str, values: np.ndarray) -> list[bytes]:
    """Serialises each row of `values` (integers >= 0, [S, N]) as one entry of Example.features."""
    payload, ends = _varints(values)
    start = 0
    entries = []
    for end in ends.tolist():
        entries.append(_feature(name, 3, payload[start:end]))
        start = end
    return entries


def _feature(name: str, kind: int, payload: bytes) -> bytes:
    """One map entry `name -> Feature`, where `kind` 2 is a FloatList, 3 an Int64List, packed in `payload`."""
    values = b"\n" + _varint(len(payload)) + payload
    feature = bytes([kind << 3 | 2]) + _varint(len(values)) + values
    key = name.encode("ascii")
    entry = b"\n" + _varint(len(key)) + key + b"\x12" + _varint(len(feature)) + feature
    return b"\n" + _varint(len(entry)) + entry


def _varint(value: int) -> bytes:
    """Protocol buffers' base-128 number."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _varints(values: np.ndarray) -> tuple[bytes, np.ndarray]:
    """Base-128 numbers of a whole array (integers from 0 to 2^31 - 1, [S, N]).

    Returns:
        The bytes of all rows, and int64 [S] where each row ends in them.
    """
    values = values.astype(np.uint32)
    width = max(1, -(-int(values.max(initial=0)).bit_length() // 7))
    shifts = np.arange(0, 7 * width, 7, dtype=np.uint32)
    digits = values[..., None] >> shifts
    present = digits > 0
    present[..., 0] = True
    more = np.zeros(present.shape, np.uint8)
    more[..., :-1] = present[..., 1:]
    encoded = (digits & 0x7F).astype(np.uint8) | more << 7
    return encoded[present].tobytes(), np.cumsum(present.sum(axis=(1, 2)))
