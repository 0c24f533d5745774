"""TFRecord files without TensorFlow: length, checksum, data, checksum (TensorFlow's record_writer.h)."""

import struct
from collections.abc import Iterable

import google_crc32c
import numpy as np

_heads: dict[int, bytes] = {}


def frame_records(records: Iterable[bytes]) -> bytes:
    """Returns the content of a TFRecord file of `records`, or a part of one.

    Args:
        records: serialised examples.
    """
    parts = []
    checksums = []
    for record in records:
        head = _heads.get(len(record))
        if head is None:
            length = struct.pack("<Q", len(record))
            head = _heads[len(record)] = length + _masked([google_crc32c.value(length)])
        parts += (head, record, b"")
        checksums.append(google_crc32c.value(record))
    masked = _masked(checksums)
    parts[2::3] = [masked[start : start + 4] for start in range(0, len(masked), 4)]
    return b"".join(parts)


def _masked(checksums: list[int]) -> bytes:
    """CRC-32C, rotated and shifted: so stored, a checksum over data that hold checksums stays a good one."""
    values = np.array(checksums, np.uint32)
    return ((values >> 15 | values << 17) + np.uint32(0xA282EAD8)).astype("<u4").tobytes()
