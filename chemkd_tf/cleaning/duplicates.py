"""Which article or sentence was there before: exactly, or nearly (MinHash and locality-sensitive hashing)."""

import hashlib
import math

import numpy as np

from chemkd_tf.errors import InputError

SHINGLE = 5  # Characters.
NUM_HASHES = 128  # The estimate's standard error is sqrt(J (1 - J) / 128): 0.035 at a Jaccard similarity J of 0.8.
_RECALL = 0.97  # Least chance that a pair with the threshold's similarity becomes a candidate.
_FEWEST_ROWS, _MOST_BANDS = 3, 9
_SEED = 20210430
_MIXER = np.uint64(0xD6E8FEB86659FD93)  # Odd, about half of its bits set.
_CHUNK = 4096  # Shingles hashed at a time: 128 x 4,096 numbers take 2 MiB.


def digest(text: str, size: int = 16) -> bytes:
    """A fingerprint of `text`, the same on every machine."""
    return hashlib.blake2b(text.encode("utf-8"), digest_size=size).digest()


class RepeatedSentences:
    """Counts sentences by an 8-byte digest.

    Args:
        most: a sentence is repeated from its occurrence number `most` + 1 on.
    """

    def __init__(self, most: int):
        self._most = most
        self._counts: dict[bytes, int] = {}

    def is_repeated(self, sentence: str) -> bool:
        """Counts `sentence`; returns whether it has occurred more often than allowed."""
        key = digest(sentence, 8)
        count = self._counts.get(key, 0)
        if count < self._most:
            self._counts[key] = count + 1
        return count >= self._most


class MinHasher:
    """MinHash signatures of texts as sets of character 5-grams.

    The hash functions are fixed: the same text has the same signature with every version of every library.
    """

    def __init__(self):
        rng = np.random.RandomState(_SEED)
        self._weights = rng.randint(0, 2**63, 3, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
        # h -> factor * h + shift modulo 2^32 with an odd factor is a permutation of the 32-bit numbers.
        self._factors = (rng.randint(0, 2**31, (NUM_HASHES, 1), dtype=np.uint32) << np.uint32(1)) | np.uint32(1)
        self._shifts = rng.randint(0, 2**32, (NUM_HASHES, 1), dtype=np.uint32)
        self._buffer = np.empty(NUM_HASHES * _CHUNK, np.uint32)

    def signature(self, text: str) -> np.ndarray:
        """Returns the signature of `text`: uint32 [128]; a text shorter than a shingle counts as one."""
        codes = np.frombuffer(text.encode("utf-32-le"), np.uint32).astype(np.uint64)
        if len(codes) < SHINGLE:
            codes = np.concatenate([codes, np.zeros(SHINGLE - len(codes), np.uint64)])
        # From characters to pairs, to fours, to fives: weighted sums modulo 2^64.
        pairs = codes[:-1] * self._weights[0]
        pairs += codes[1:]
        fours = pairs[:-2] * self._weights[1]
        fours += pairs[2:]
        hashes = fours[:-1] * self._weights[2]
        hashes += codes[4:]
        # The high bits of such a sum depend on all its parts; this spreads them over the 32 that stay.
        hashes ^= hashes >> np.uint64(32)
        hashes *= _MIXER
        hashes = (hashes >> np.uint64(32)).astype(np.uint32)
        signature = np.full(NUM_HASHES, 2**32 - 1, np.uint32)
        for start in range(0, len(hashes), _CHUNK):
            chunk = hashes[start : start + _CHUNK]
            permuted = self._buffer[: NUM_HASHES * len(chunk)].reshape(NUM_HASHES, -1)
            np.multiply(self._factors, chunk, out=permuted)
            permuted += self._shifts
            np.minimum(signature, permuted.min(axis=1), out=signature)
        return signature


def bands_and_rows(threshold: float) -> tuple[int, int]:
    """How a signature is cut into bands for the index: a pair that agrees in a whole band becomes a candidate.

    Args:
        threshold: Jaccard similarity, above 0, at most 1.

    Returns:
        Bands and rows per band: as many rows as possible (few false candidates) with at most 9 bands (memory), or more
        bands if 3 rows need them, such that at least 97% of the pairs at the threshold become candidates.
    """
    for rows in range(NUM_HASHES // 2, 0, -1):
        agree = threshold**rows
        bands = 2 if agree >= 1 else max(2, math.ceil(math.log(1 - _RECALL) / math.log1p(-agree)))
        if (bands <= _MOST_BANDS or rows <= _FEWEST_ROWS) and bands * rows <= NUM_HASHES:
            return bands, rows
    return NUM_HASHES, 1


class NearDuplicates:
    """Finds articles that are nearly the same as an earlier one, in datasketch's index.

    Args:
        threshold: least estimated Jaccard similarity of the sets of 5-grams.

    Raises:
        InputError: datasketch is not installed.
    """

    def __init__(self, threshold: float):
        try:
            from datasketch import MinHash, MinHashLSH
        except ImportError:
            raise InputError(
                "--near_duplicate_threshold needs the library datasketch: pip install 'chemkd_tf[clean]' (or give "
                "--near_duplicate_threshold=0 to keep near-duplicates)"
            ) from None
        self._threshold = threshold
        self._hasher = MinHasher()
        self._index = MinHashLSH(params=bands_and_rows(threshold), num_perm=NUM_HASHES)
        # The index reads nothing but the hash values of what it is given, so that one object can carry them all.
        self._carrier = MinHash(num_perm=NUM_HASHES, seed=1)
        self._signatures = np.empty((1024, NUM_HASHES), np.uint32)
        self._numbers: list[int] = []

    def find_or_add(self, text: str, number: int) -> tuple[int, float] | None:
        """Looks for an earlier article like `text`; without one, remembers it.

        Args:
            text: the article, stripped of what should make no difference.
            number: by which the article is named later.

        Returns:
            Number of the most similar earlier article (the first of several) and the estimated similarity; None if
            there is none with the threshold's similarity.
        """
        signature = self._hasher.signature(text)
        self._carrier.hashvalues = signature
        candidates = sorted(self._index.query(self._carrier))
        if candidates:
            similarities = (self._signatures[candidates] == signature).mean(axis=1)
            best = int(similarities.argmax())
            if similarities[best] >= self._threshold:
                return self._numbers[candidates[best]], float(similarities[best])
        row = len(self._numbers)
        if row == len(self._signatures):
            self._signatures.resize((2 * row, NUM_HASHES), refcheck=False)
        self._signatures[row] = signature
        self._numbers.append(number)
        self._index.insert(row, self._carrier, check_duplication=False)
        return None
