"""What a run of create_pretraining_data would write, judged from a sample of the corpus."""

import dataclasses
import math
import os
import time

import numpy as np

from chemkd_tf.config import PretrainingDataConfig
from chemkd_tf.data.blocks import find_files
from chemkd_tf.data.samples import cut_windows, make_tokenizer, random_generator, sample_windows, tokenize_block
from chemkd_tf.data.shards import MOST_SHARDS, TEXT_BYTES_PER_SHARD
from chemkd_tf.data.slices import Plan, SliceMaker
from chemkd_tf.errors import InputError
from chemkd_tf.text.vocabulary import load_vocabulary

PIECES, PIECE_BYTES = 32, 1 << 16


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What would be written; everything but the corpus itself is extrapolated.

    Args:
        corpus_bytes: of all the files.
        num_files: of the corpus.
        sampled_bytes: what was looked at.
        sentences: lines with a token.
        samples: all passes together.
        tokens: of all samples, with [CLS] and [SEP].
        padding_share: of the tokens' places in padded records, how many hold padding.
        cut_share: of the sentences, how many are longer than a sample.
        lost_share: of the tokens, how many are cut off.
        record_bytes: of all the shards.
        spill_bytes: needed besides, until the run ends.
        num_shards: files.
        seconds: of one process.
        num_workers: processes that would run.
    """

    corpus_bytes: int
    num_files: int
    sampled_bytes: int
    sentences: int
    samples: int
    tokens: int
    padding_share: float
    cut_share: float
    lost_share: float
    record_bytes: int
    spill_bytes: int
    num_shards: int
    seconds: float
    num_workers: int

    def __str__(self) -> str:
        minutes, seconds = divmod(math.ceil(self.seconds / self.num_workers), 60)
        return "\n".join(
            (
                f"corpus   {self.corpus_bytes:,} bytes in {self.num_files} files; {self.sampled_bytes:,} looked at",
                f"samples  {self.samples:,} of {self.sentences:,} sentences",
                f"tokens   {self.tokens:,} with [CLS] and [SEP], {self.tokens / max(1, self.samples):.1f} a sample",
                f"padding  {self.padding_share:.1%} of padded records",
                f"cut      {self.cut_share:.1%} of the sentences are too long for a sample; {self.lost_share:.1%} of "
                "all tokens get lost",
                f"disk     {self.record_bytes / 1e6:,.0f} MB in {self.num_shards} files, and "
                f"{self.spill_bytes / 1e6:,.0f} MB besides while it runs",
                f"time     about {minutes // 60}:{minutes % 60:02d}:{seconds:02d} with {self.num_workers} processes",
            )
        )


def estimate(config: PretrainingDataConfig) -> Estimate:
    """Tokenises up to 2 MB from all over the corpus and makes one pass's records of them, in memory.

    Args:
        config: the flags; nothing is written.

    Raises:
        InputError: if the corpus or the vocabulary is missing, or the sample holds no token.
    """
    paths = find_files(config.input_file)
    vocabulary = load_vocabulary(config.vocab_file)
    corpus_bytes = sum(map(os.path.getsize, paths))
    text, sampled_bytes = _sample(paths, corpus_bytes)
    passes = 1 if config.masking == "dynamic" else config.dupe_factor
    budget = config.max_seq_length - 2
    num_shards = config.num_shards or min(MOST_SHARDS, math.ceil(corpus_bytes * passes / TEXT_BYTES_PER_SHARD))

    maker = SliceMaker(Plan(dataclasses.replace(config, dupe_factor=1), vocabulary, (), "", 1))
    tokenizer = make_tokenizer(config, vocabulary)
    tokenize_block(tokenizer, text)  # Fills its tables, which happens once in a run.
    started = time.perf_counter()
    tokens = tokenize_block(tokenizer, text)
    tokenizing = time.perf_counter() - started
    if not tokens.num_sentences:
        raise InputError(f"--input_file={config.input_file}: no line with a token in {sampled_bytes:,} bytes of it")
    started = time.perf_counter()
    slices, counts = maker.slices(text, 0)
    record_bytes = sum(len(content) for _, content in maker.shard_content(0, slices))
    one_pass = max(0.0, time.perf_counter() - started - tokenizing)

    starts, ends = sample_windows(tokens, config.sample_mode, budget)
    whole = int((ends - starts).sum())
    if config.masking == "static":
        starts, ends = cut_windows(starts, ends, budget, config.truncate_mode, random_generator(config.random_seed))
    kept = np.minimum(ends - starts, budget)
    factor = corpus_bytes / sampled_bytes
    return Estimate(
        corpus_bytes=corpus_bytes,
        num_files=len(paths),
        sampled_bytes=sampled_bytes,
        sentences=round(tokens.num_sentences * factor),
        samples=round(len(kept) * factor * passes),
        tokens=round(float((kept + 2).sum()) * factor * passes),
        padding_share=1 - float((kept + 2).mean()) / config.max_seq_length,
        cut_share=counts.cut_sentences / tokens.num_sentences,
        lost_share=1 - float(kept.sum()) / whole,
        record_bytes=round(record_bytes * factor * passes),
        spill_bytes=round(sum(map(len, slices)) * factor * passes),
        num_shards=num_shards,
        seconds=(tokenizing + one_pass * passes) * factor,
        num_workers=config.num_workers or len(os.sched_getaffinity(0)),
    )


def _sample(paths: list[str], corpus_bytes: int) -> tuple[str, int]:
    """Whole lines, where possible whole articles, from all over the corpus; and how many bytes they have."""
    pieces = []
    step = max(PIECE_BYTES, corpus_bytes / PIECES)
    position, wanted = 0, 0.0  # Of the file's begin, and of the next piece, in the corpus.
    for path in paths:
        size = os.path.getsize(path)
        with open(path, "rb") as file:
            while wanted < position + size:
                start = int(wanted - position)
                file.seek(start)
                pieces.append(_whole_lines(file.read(PIECE_BYTES), start == 0, start + PIECE_BYTES >= size))
                wanted += step
        position += size
    content = b"\n\n".join(pieces)
    return content.decode("utf-8", "replace"), max(1, sum(map(len, pieces)))


def _whole_lines(content: bytes, at_begin: bool, at_end: bool) -> bytes:
    for between in (b"\n\n", b"\n"):
        first = 0 if at_begin else content.find(between) + len(between)
        last = len(content) if at_end else content.rfind(between)
        if (at_begin or first >= len(between)) and first < last:
            return content[first:last]
    return content
