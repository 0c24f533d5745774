"""A corpus to shuffled record files: the same bytes from one process or from many.

The work is cut into units (pass, block). A unit draws its random numbers from (seed, pass, block), sends each of its
records to a random shard, and spills them, in the order of the shards, to a folder beside the output. Then each shard
gathers its slices in the order of the units and is shuffled by (seed, shard). It does not matter which process does
what.
"""

import dataclasses
import importlib.metadata
import math
import os
import shutil
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from chemkd_tf.atomic import write_json
from chemkd_tf.config import PretrainingDataConfig
from chemkd_tf.data.blocks import BLOCK_BYTES, Block, find_files, split_into_blocks
from chemkd_tf.data.manifest import Manifest, manifest_path, read_manifest, shard_path
from chemkd_tf.data.records import encode_records
from chemkd_tf.data.samples import SampleMaker, random_generator
from chemkd_tf.data.workers import WorkerPool
from chemkd_tf.errors import InputError
from chemkd_tf.progress import Progress
from chemkd_tf.text.vocabulary import Vocabulary, load_vocabulary

# A worker imports TensorFlow before it does anything, which takes as long as 20 or 30 units.
UNITS_PER_WORKER = 40
CORPUS_BYTES_PER_SHARD = 32 << 20  # Times dupe_factor; about 200 MB of records.
MOST_SHARDS = 1000
VERSIONS_OF = ("tensorflow", "tensorflow-text", "numpy", "jieba")


@dataclasses.dataclass(frozen=True)
class _Job:
    """What every worker needs to know."""

    config: PretrainingDataConfig
    vocabulary: Vocabulary
    blocks: tuple[Block, ...]
    spill_folder: str
    num_shards: int


class _Worker:
    """What a process keeps between calls."""

    def __init__(self, job: _Job):
        self.job = job
        self.sample_maker = SampleMaker(job.config, job.vocabulary)


@dataclasses.dataclass(frozen=True)
class _BlockCounts:
    """What became of one block, all passes together."""

    lines: int
    articles: int
    sentences: int
    dropped_sentences: int
    samples: int


def write_pretraining_data(
    config: PretrainingDataConfig, block_bytes: int = BLOCK_BYTES, units_per_worker: int = UNITS_PER_WORKER
) -> Manifest:
    """Writes the masked samples of a corpus: `P-00000-of-000NN` and, last, `P.manifest.json`.

    Records that an earlier run wrote to the same prefix are replaced. If this run fails there is no manifest.

    Args:
        config: the flags; `output_file` is P. The bytes depend on everything but `num_workers`.
        block_bytes: size of a block of whole articles; the bytes depend on it.
        units_per_worker: where there are fewer units (pass, block) than this for each worker, fewer workers are taken;
            a small corpus takes this process alone.

    Returns:
        What was written.

    Raises:
        InputError: if the corpus is missing, empty or not UTF-8, or the vocabulary is not one of BERT's.
    """
    vocabulary = load_vocabulary(config.vocab_file)
    blocks = split_into_blocks(find_files(config.input_file), block_bytes)
    num_bytes = sum(block.end - block.start for block in blocks) * config.dupe_factor
    num_shards = config.num_shards or min(MOST_SHARDS, math.ceil(num_bytes / CORPUS_BYTES_PER_SHARD))
    num_workers = min(
        config.num_workers or len(os.sched_getaffinity(0)), len(blocks) * config.dupe_factor // units_per_worker
    )
    prefix = config.output_file
    job = _Job(config, vocabulary, tuple(blocks), prefix + ".spill", num_shards)

    os.makedirs(os.path.dirname(os.path.abspath(prefix)), exist_ok=True)
    replaced = _forget_earlier_records(prefix)
    shutil.rmtree(job.spill_folder, ignore_errors=True)
    os.mkdir(job.spill_folder)
    try:
        with WorkerPool(_Worker, job, num_workers) as run:
            counts = _make_samples(job, run)
            shard_samples = _write_shards(job, run)
    finally:
        shutil.rmtree(job.spill_folder, ignore_errors=True)

    total = {
        field.name: sum(getattr(count, field.name) for count in counts) for field in dataclasses.fields(_BlockCounts)
    }
    assert sum(shard_samples) == total["samples"], "records were lost between blocks and shards"
    if not total["samples"]:
        for shard in range(num_shards):
            os.remove(shard_path(prefix, shard, num_shards))
        raise InputError(
            f"--input_file={config.input_file}: not one of its {total['dropped_sentences']:,} lines has a "
            "token: nothing is left of them in BERT's cleaning"
        )
    names = [os.path.basename(shard_path(prefix, shard, num_shards)) for shard in range(num_shards)]
    write_json(
        manifest_path(prefix),
        {
            "samples": total["samples"],
            "sentences": total["sentences"],
            "dropped_sentences": total["dropped_sentences"],
            "articles": total["articles"],
            "max_seq_length": config.max_seq_length,
            "max_predictions_per_seq": config.max_predictions_per_seq,
            "vocabulary_sha256": vocabulary.sha256,
            "vocabulary_size": vocabulary.size,
            "shards": [{"file": name, "samples": samples} for name, samples in zip(names, shard_samples, strict=True)],
            "flags": dataclasses.asdict(config),
            "versions": {name: importlib.metadata.version(name) for name in VERSIONS_OF},
        },
    )
    for path in set(replaced) - {shard_path(prefix, shard, num_shards) for shard in range(num_shards)}:
        os.remove(path)
    return read_manifest(prefix)


def _make_samples(job: _Job, run: Callable) -> list[_BlockCounts]:
    dupe_factor = job.config.dupe_factor
    unit = "records" if job.config.sample_mode == "sentence" else "sentences"
    progress = Progress("masking", sum(block.sentences for block in job.blocks) * dupe_factor, unit)
    counts = []
    done = samples = 0
    for count in run(_spill_block, len(job.blocks)):
        counts.append(count)
        done += count.lines * dupe_factor
        samples += count.samples
        progress.update(done, samples=samples)
    progress.close()
    return counts


def _write_shards(job: _Job, run: Callable) -> list[int]:
    progress = Progress("shuffling", job.num_shards, "files")
    samples = []
    for count in run(_finish_shard, job.num_shards):
        samples.append(count)
        progress.update(len(samples))
    progress.close()
    return samples


def _spill_block(worker: _Worker, index: int) -> _BlockCounts:
    """Makes all passes over one block, so that it is tokenised once."""
    job = worker.job
    block = job.blocks[index]
    tokens = worker.sample_maker.tokenize(block)
    samples = 0
    for pass_index in range(job.config.dupe_factor):
        records = []
        for masked in worker.sample_maker.samples(tokens, pass_index, block.index):
            records += encode_records(masked, job.config.write_nsp_labels)
        rng = random_generator(job.config.random_seed, 1, pass_index, block.index)
        shards = rng.integers(0, job.num_shards, len(records))
        order = np.argsort(shards, kind="stable")
        path = _spill_path(job, block.index, pass_index)
        with open(path + ".records", "wb") as file:
            file.writelines(records[index] for index in order)
        np.savez(
            path,
            lengths=np.array([len(records[index]) for index in order], np.int64),
            counts=np.bincount(shards, minlength=job.num_shards),
        )
        samples += len(records)
    return _BlockCounts(block.sentences, tokens.num_articles, tokens.num_sentences, tokens.dropped_sentences, samples)


def _finish_shard(worker: _Worker, shard: int) -> int:
    """Gathers, shuffles and writes one shard; returns its number of samples."""
    job = worker.job
    records: list[bytes] = []
    for block in job.blocks:
        for pass_index in range(job.config.dupe_factor):
            records += _read_slice(_spill_path(job, block.index, pass_index), shard)
    path = shard_path(job.config.output_file, shard, job.num_shards)
    partial = path + ".partial"
    try:
        with tf.io.TFRecordWriter(partial) as writer:
            for index in random_generator(job.config.random_seed, 2, shard).permutation(len(records)):
                writer.write(records[index])
        os.replace(partial, path)
    finally:
        if os.path.exists(partial):
            os.remove(partial)
    return len(records)


def _read_slice(spill_path: str, shard: int) -> list[bytes]:
    """The records that one unit sent to one shard."""
    with np.load(spill_path + ".npz") as index:
        ends = np.cumsum(index["counts"])
        lengths = index["lengths"]
    first, last = int(ends[shard - 1]) if shard else 0, int(ends[shard])
    with open(spill_path + ".records", "rb") as file:
        file.seek(int(lengths[:first].sum()))
        return [file.read(length) for length in lengths[first:last].tolist()]


def _spill_path(job: _Job, block_index: int, pass_index: int) -> str:
    return os.path.join(job.spill_folder, f"{block_index:06d}-{pass_index:04d}")


def _forget_earlier_records(prefix: str) -> list[str]:
    """Removes the manifest of an earlier run, from here on not true; returns the shards that it listed."""
    path = manifest_path(prefix)
    if not os.path.exists(path):
        return []
    try:
        shards = list(read_manifest(prefix).shards)
    except Exception:  # Whatever is wrong with it, it is about to be replaced, and we delete nothing that it names.
        shards = []
    os.remove(path)
    return shards
