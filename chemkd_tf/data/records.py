"""Samples as the bytes of tf.train.Example, with google-research/bert's names; `parsing` reads them.

Three kinds of records, see `manifest.RecordFormat`: masked and padded (google-research/bert's), masked and unpadded,
and unmasked (dynamic). Features stand in alphabetical order. Building one Python object a token would cost more than
everything else in data preparation: numbers become bytes in one table look-up for many samples, and whatever depends
only on a length is made once. tests/data/test_records.py compares with tf.train.Example.
"""

from collections.abc import Callable, Iterable, Iterator

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
        self._zeros = [bytes(max_predictions_per_seq - n) for n in range(max_predictions_per_seq + 1)]
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
        mask_splits = np.append(0, np.cumsum(masked.num_predictions))
        rows = zip(
            np.diff(masked.splits).tolist(),
            masked.num_predictions.tolist(),
            self._varints.rows(masked.token_ids, masked.splits),
            self._varints.rows(masked.label_ids, mask_splits),
            self._varints.rows(masked.positions, mask_splits),
            strict=True,
        )
        return self._padded_records(rows) if self._padded else self._unpadded_records(rows)

    def encode_unmasked(self, samples: Samples) -> list[bytes]:
        """Serialises S whole samples as S byte strings; with `word_lengths` where they have `unit_starts`."""
        tokens = self._varints.rows(samples.token_ids, samples.splits)
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

    def _padded_records(self, rows: Iterable[tuple[int, int, bytes, bytes, bytes]]) -> list[bytes]:
        # One expression for a record: this loop is most of what data preparation costs.
        start, zeros, record_heads = self._start, self._zeros, self._record_heads
        ids_head, labels_head, positions_head = (
            self._heads[name] for name in ("input_ids", "masked_lm_ids", "masked_lm_positions")
        )
        behind_tokens, behind_positions = self._behind_tokens, self._behind_positions
        size_of_others = len(start) + len(self._end) + self._length - 2
        records = []
        for length, predictions, tokens, labels, positions in rows:
            padding = zeros[predictions]
            features = b"".join(
                (
                    ids_head[size_of_others - length + len(tokens)],
                    start,
                    tokens,
                    behind_tokens[length],
                    labels_head[len(labels) + len(padding)],
                    labels,
                    padding,
                    positions_head[len(positions) + len(padding)],
                    positions,
                    behind_positions[predictions],
                )
            )
            records.append(record_heads[len(features)] + features)
        return records

    def _unpadded_records(self, rows: Iterable[tuple[int, int, bytes, bytes, bytes]]) -> list[bytes]:
        ids_head, labels_head, positions_head = (
            self._heads[name] for name in ("input_ids", "masked_lm_ids", "masked_lm_positions")
        )
        records = []
        for _, _, tokens, labels, positions in rows:
            ids = b"".join((self._start, tokens, self._end))
            features = (
                ids_head[len(ids)],
                ids,
                labels_head[len(labels)],
                labels,
                positions_head[len(positions)],
                positions,
            )
            records.append(self._record(b"".join(features)))
        return records

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
        self._sizes = 1 + np.sum(values >= 1 << np.array([7, 14, 21], np.uint32), axis=1, dtype=np.uint8)
        columns = np.arange(4)
        digits = (values >> (7 * columns).astype(np.uint32)) & 0x7F | 0x80 * (columns < self._sizes[:, None] - 1)
        # Four bytes of a number, and which of them count, as one entry each: one look-up instead of four.
        self._bytes = digits.astype(np.uint8).view(np.uint32)[:, 0]
        self._present = (columns < self._sizes[:, None]).view(np.uint32)[:, 0]

    def rows(self, values: np.ndarray, splits: np.ndarray) -> Iterator[bytes]:
        """Yields the bytes of values[splits[i] : splits[i + 1]] for each i."""
        values = values.astype(np.int64)  # As an index, twice as fast as the conversion takes.
        # `compress` takes a third of the time that indexing with booleans does.
        encoded = self._bytes[values].view(np.uint8).compress(self._present[values].view(bool)).tobytes()
        ends = np.append(0, np.cumsum(self._sizes[values], dtype=np.int64))[splits].tolist()
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
