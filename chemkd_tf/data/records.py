"""Samples as the bytes of tf.train.Example, with google-research/bert's names; `parsing` reads them.

Three kinds of records, see `manifest.RecordFormat`: masked and padded (google-research/bert's), masked and unpadded,
and unmasked (dynamic). Features stand in alphabetical order. Building one Python object a token would cost more than
everything else in data preparation: numbers become bytes in one table look-up for many samples, and whatever depends
only on a length is made once. tests/data/test_records.py compares with tf.train.Example.
"""

from collections.abc import Callable, Iterator

import numpy as np

from chemkd_tf.data.masking import MaskedSamples
from chemkd_tf.data.samples import Samples
from chemkd_tf.text.vocabulary import Vocabulary

NEXT_SENTENCE = "next_sentence_labels"  # int64 [1], always 0; only google-research/bert's reader wants it.
_FLOATS, _INTEGERS = 2, 3  # Feature.float_list and Feature.int64_list


class RecordEncoder:
    """Serialises samples.

    Args:
        vocabulary: gives [CLS] and [SEP], and the largest id.
        max_seq_length: T, tokens with specials; what static records are padded to.
        max_predictions_per_seq: P, at least 1; what the predictions of static records are padded to.
        padded: whether static records are padded.
        write_nsp_labels: add `next_sentence_labels` = [0] to padded records.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        max_seq_length: int,
        max_predictions_per_seq: int,
        padded: bool = True,
        write_nsp_labels: bool = False,
    ):
        self._length, self._predictions = max_seq_length, max_predictions_per_seq
        self._padded = padded
        self._varints = _Varints(max(vocabulary.size, max_seq_length, 128))
        self._start, self._end = _varint(vocabulary.start_id), _varint(vocabulary.end_id)
        self._heads = {
            name: _Memo(lambda size, name=name: _head(name, _INTEGERS, size))
            for name in ("input_ids", "masked_lm_ids", "masked_lm_positions", "word_lengths")
        }
        self._record_heads = _Memo(lambda size: b"\n" + _varint(size))
        padding = bytes(max_seq_length)  # The number 0 is one byte.
        # Behind the tokens of a sample of n tokens: [SEP], padding, and the mask.
        self._behind_tokens = _Memo(
            lambda n: (
                self._end
                + padding[n + 2 :]
                + _feature("input_mask", _INTEGERS, b"\1" * (n + 2) + bytes(max_seq_length - n - 2))
            )
        )
        segments = _feature("segment_ids", _INTEGERS, padding)
        next_sentence = _feature(NEXT_SENTENCE, _INTEGERS, b"\0") if write_nsp_labels else b""
        # Behind the positions of n predictions: weights, and what is the same in every record.
        self._behind_positions = _Memo(
            lambda n: (
                bytes(max_predictions_per_seq - n)
                + _feature(
                    "masked_lm_weights", _FLOATS, (np.arange(max_predictions_per_seq) < n).astype("<f4").tobytes()
                )
                + next_sentence
                + segments
            )
        )

    def encode_masked(self, masked: MaskedSamples) -> list[bytes]:
        """Serialises S masked samples, none longer than T - 2 tokens, as S byte strings."""
        tokens = self._rows(masked.token_ids, masked.splits)
        mask_splits = np.append(0, np.cumsum(masked.num_predictions))
        labels = self._rows(masked.label_ids, mask_splits)
        positions = self._rows(masked.positions, mask_splits)
        join = self._join_padded if self._padded else self._join_unpadded
        lengths = np.diff(masked.splits).tolist()
        return [
            join(*row) for row in zip(lengths, masked.num_predictions.tolist(), tokens, labels, positions, strict=True)
        ]

    def encode_unmasked(self, samples: Samples) -> list[bytes]:
        """Serialises S whole samples as S byte strings; with `word_lengths` where they have `unit_starts`."""
        tokens = self._rows(samples.token_ids, samples.splits)
        head = self._heads["input_ids"]
        if samples.unit_starts is None:
            return [self._record(head[len(ids)] + ids) for ids in tokens]
        starts_unit = samples.unit_starts.copy()
        starts_unit[samples.splits[:-1]] = True
        places = np.append(np.flatnonzero(starts_unit), len(starts_unit))
        # A word of more tokens than the table holds: a sample has no more tokens than a line has bytes.
        words = _Varints(int(np.diff(places).max(initial=1)) + 1).rows(
            np.diff(places), np.searchsorted(places, samples.splits)
        )
        word_head = self._heads["word_lengths"]
        return [
            self._record(head[len(ids)] + ids + word_head[len(lengths)] + lengths)
            for ids, lengths in zip(tokens, words, strict=True)
        ]

    def _rows(self, values: np.ndarray, splits: np.ndarray) -> Iterator[bytes]:
        return self._varints.rows(values, splits)

    def _join_padded(self, length: int, predictions: int, tokens: bytes, labels: bytes, positions: bytes) -> bytes:
        missing = self._predictions - predictions
        size = len(self._start) + len(tokens) + len(self._end) + self._length - length - 2
        return self._record(
            b"".join(
                (
                    self._heads["input_ids"][size],
                    self._start,
                    tokens,
                    self._behind_tokens[length],
                    self._heads["masked_lm_ids"][len(labels) + missing],
                    labels,
                    bytes(missing),
                    self._heads["masked_lm_positions"][len(positions) + missing],
                    positions,
                    self._behind_positions[predictions],
                )
            )
        )

    def _join_unpadded(self, length: int, predictions: int, tokens: bytes, labels: bytes, positions: bytes) -> bytes:
        return self._record(
            b"".join(
                (
                    self._heads["input_ids"][len(self._start) + len(tokens) + len(self._end)],
                    self._start,
                    tokens,
                    self._end,
                    self._heads["masked_lm_ids"][len(labels)],
                    labels,
                    self._heads["masked_lm_positions"][len(positions)],
                    positions,
                )
            )
        )

    def _record(self, features: bytes) -> bytes:
        """Example.features, field 1 of an Example."""
        return self._record_heads[len(features)] + features


class _Memo(dict):
    """Values by key, each made when it is first asked for."""

    def __init__(self, make: Callable[[int], bytes]):
        self._make = make

    def __missing__(self, key: int) -> bytes:
        value = self[key] = self._make(key)
        return value


class _Varints:
    """The base-128 numbers of protocol buffers from 0 to `size` - 1, as tables.

    Args:
        size: at most 2^28, so that four bytes hold a number.
    """

    def __init__(self, size: int):
        assert size <= 1 << 28, f"{size} numbers need more than four bytes each"
        values = np.arange(size, dtype=np.uint32)[:, None]
        self._sizes = 1 + np.sum(values >= 1 << np.array([7, 14, 21], np.uint32), axis=1)
        columns = np.arange(4)
        digits = (values >> (7 * columns).astype(np.uint32)) & 0x7F | 0x80 * (columns < self._sizes[:, None] - 1)
        # Four bytes of a number, and which of them count, as one entry each: one look-up instead of four.
        self._bytes = digits.astype(np.uint8).view(np.uint32)[:, 0]
        self._present = (columns < self._sizes[:, None]).view(np.uint32)[:, 0]

    def rows(self, values: np.ndarray, splits: np.ndarray) -> Iterator[bytes]:
        """Yields the bytes of values[splits[i] : splits[i + 1]] for each i."""
        encoded = self._bytes[values].view(np.uint8)[self._present[values].view(bool)].tobytes()
        ends = np.append(0, np.cumsum(self._sizes[values]))[splits].tolist()
        return (encoded[start:end] for start, end in zip(ends, ends[1:], strict=False))


def _feature(name: str, kind: int, payload: bytes) -> bytes:
    return _head(name, kind, len(payload)) + payload


def _head(name: str, kind: int, payload_size: int) -> bytes:
    """What precedes the packed values of one map entry `name -> Feature`."""
    values = b"\n" + _varint(payload_size)
    feature = bytes([kind << 3 | 2]) + _varint(len(values) + payload_size) + values
    key = name.encode("ascii")
    entry = b"\n" + _varint(len(key)) + key + b"\x12" + _varint(len(feature) + payload_size) + feature
    return b"\n" + _varint(len(entry) + payload_size) + entry


def _varint(value: int) -> bytes:
    """Protocol buffers' base-128 number."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
