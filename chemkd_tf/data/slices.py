"""From a block to the shards and from a shard to its records: the two functions that every worker calls.

It does not matter who calls them, on which machine and when (`shards` on one machine, `beam_shards` on a cluster): a
block's random numbers depend on (seed, pass, block), a shard's on (seed, shard).

    block ──tokenise, pack, cut, send each sample to a random shard──▶ one slice for each shard
    shard ◀──shuffle, mask, serialise── its slices, in the order of the blocks

Between the two, samples are unmasked and take two bytes a token, so that the shuffle across the corpus moves a third
of the bytes that records would.
"""

import dataclasses
import functools
import struct
from collections.abc import Iterable, Iterator

import numpy as np

from chemkd_tf.config import PretrainingDataConfig
from chemkd_tf.data.blocks import Block
from chemkd_tf.data.masking import mask_samples
from chemkd_tf.data.records import RecordEncoder
from chemkd_tf.data.samples import (
    Samples,
    cut_windows,
    make_tokenizer,
    random_generator,
    sample_windows,
    tokenize_block,
)
from chemkd_tf.data.tfrecords import frame_records
from chemkd_tf.text.block_tokenization import BlockTokenizer
from chemkd_tf.text.vocabulary import Vocabulary

TOKENS_AT_ONCE = 1 << 18  # Keeps what is masked together in the processor's cache. Random numbers depend on it.
_BLOCK_STREAM, _SHARD_STREAM = 0, 1  # Keep random numbers of blocks and shards apart.


@dataclasses.dataclass(frozen=True)
class Plan:
    """What every worker needs to know.

    Args:
        config: the flags.
        vocabulary: of `config.vocab_file`.
        blocks: the corpus.
        corpus_sha256: the corpus's fingerprint.
        num_shards: files to write.
    """

    config: PretrainingDataConfig
    vocabulary: Vocabulary
    blocks: tuple[Block, ...]
    corpus_sha256: str
    num_shards: int


@dataclasses.dataclass(frozen=True)
class BlockCounts:
    """What became of a block; counts of blocks are added up.

    Args:
        articles: with at least one token.
        sentences: with at least one token.
        dropped_sentences: lines with text but no token.
        cut_sentences: of `sentences`, longer than a sample.
        samples: all passes together.
    """

    articles: int = 0
    sentences: int = 0
    dropped_sentences: int = 0
    cut_sentences: int = 0
    samples: int = 0

    def __add__(self, other: "BlockCounts") -> "BlockCounts":
        return BlockCounts(*map(sum, zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)))


class SliceMaker:
    """The two halves of the work.

    Args:
        plan: of the run.
    """

    def __init__(self, plan: Plan):
        self._plan = plan
        config, vocabulary = plan.config, plan.vocabulary
        self._budget = config.max_seq_length - 2
        self._encoder = RecordEncoder(
            vocabulary,
            config.max_seq_length,
            config.max_predictions_per_seq,
            config.pad_records,
            config.write_nsp_labels,
        )
        # A token as it stands in a slice: its id and, in the highest bit, whether it starts a unit.
        self._code = np.dtype("<u2" if vocabulary.size <= 1 << 15 else "<u4")
        self._unit_bit = 1 << 8 * self._code.itemsize - 1

    @functools.cached_property
    def tokenizer(self) -> BlockTokenizer:
        """Made when first needed: with whole words it loads jieba's dictionary, which a shard has no use for."""
        return make_tokenizer(self._plan.config, self._plan.vocabulary)

    def slices(self, text: str, block_index: int) -> tuple[list[bytes], BlockCounts]:
        """Makes the samples of one block, all passes, and says which shard each goes to.

        Args:
            text: of the block.
            block_index: its number in the corpus.

        Returns:
            A slice for each shard, and what was counted.
        """
        plan, config = self._plan, self._plan.config
        tokens = tokenize_block(self.tokenizer, text)
        codes = tokens.token_ids.astype(self._code)
        if tokens.unit_starts is not None:
            codes |= tokens.unit_starts.astype(self._code) * self._code.type(self._unit_bit)
        all_starts, all_ends = sample_windows(tokens, config.sample_mode, self._budget)
        starts, ends, shards = [], [], []
        dynamic = config.masking == "dynamic"
        for pass_index in range(1 if dynamic else config.dupe_factor):
            rng = random_generator(config.random_seed, _BLOCK_STREAM, pass_index, block_index)
            window = (
                (all_starts, all_ends)
                if dynamic
                else cut_windows(all_starts, all_ends, self._budget, config.truncate_mode, rng)
            )
            starts.append(window[0])
            ends.append(window[1])
            shards.append(rng.integers(0, plan.num_shards, len(all_starts)))
        shard_of = np.concatenate(shards)
        order = np.argsort(shard_of, kind="stable")
        starts, ends = np.concatenate(starts)[order], np.concatenate(ends)[order]
        lengths = (ends - starts).astype("<u4")
        raw, width = codes.tobytes(), self._code.itemsize
        samples = [
            raw[start:end] for start, end in zip((starts * width).tolist(), (ends * width).tolist(), strict=True)
        ]
        bounds = np.searchsorted(shard_of[order], np.arange(plan.num_shards + 1)).tolist()
        slices = [
            b"".join((struct.pack("<I", last - first), lengths[first:last].tobytes(), *samples[first:last]))
            for first, last in zip(bounds, bounds[1:], strict=False)
        ]
        counts = BlockCounts(
            articles=tokens.num_articles,
            sentences=tokens.num_sentences,
            dropped_sentences=tokens.dropped_sentences,
            cut_sentences=int((np.diff(tokens.splits) > self._budget).sum()),
            samples=len(samples),
        )
        return slices, counts

    def shard_content(self, shard: int, slices: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
        """Shuffles, masks and serialises what was sent to one shard.

        Args:
            shard: its number.
            slices: in the order of the blocks.

        Yields:
            The next part of the TFRecord file, and how many records it holds before it.
        """
        all_lengths = []
        raw = bytearray()  # Grows, so that there is never a second copy of all tokens.
        for one in slices:
            (count,) = struct.unpack_from("<I", one)
            all_lengths.append(np.frombuffer(one, "<u4", count, 4).copy())
            raw += memoryview(one)[4 + 4 * count :]
        lengths = np.concatenate(all_lengths).astype(np.int64)
        ends = np.cumsum(lengths)
        rng = random_generator(self._plan.config.random_seed, _SHARD_STREAM, shard)
        order = rng.permutation(len(lengths))
        chunk_of = np.cumsum(lengths[order]) // TOKENS_AT_ONCE
        bounds = [0, *(np.flatnonzero(np.diff(chunk_of)) + 1).tolist(), len(order)]
        width = self._code.itemsize
        for first, last in zip(bounds, bounds[1:], strict=False):
            rows = order[first:last]
            stops = (ends[rows] * width).tolist()
            starts = ((ends[rows] - lengths[rows]) * width).tolist()
            codes = np.frombuffer(
                b"".join([raw[start:stop] for start, stop in zip(starts, stops, strict=True)]), self._code
            )
            splits = np.append(0, np.cumsum(lengths[rows]))
            yield last - first, frame_records(self._encode(codes, splits, rng))

    def _encode(self, codes: np.ndarray, splits: np.ndarray, rng: np.random.Generator) -> list[bytes]:
        config, vocabulary = self._plan.config, self._plan.vocabulary
        if config.do_whole_word_mask:
            samples = Samples(codes & (self._unit_bit - 1), splits, codes >= self._unit_bit)
        else:
            samples = Samples(codes, splits, None)
        if config.masking == "dynamic":
            return self._encoder.encode_unmasked(samples)
        masked = mask_samples(
            samples,
            rng,
            mask_id=vocabulary.mask_id,
            vocabulary_size=vocabulary.size,
            masked_lm_prob=config.masked_lm_prob,
            max_predictions_per_seq=config.max_predictions_per_seq,
        )
        return self._encoder.encode_masked(masked)
