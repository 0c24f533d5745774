"""A corpus to shuffled record files on one machine: the same bytes from one process or from many, resumed or not.

    P.work/plan.json        what is being made; a run with other flags is refused
    P.work/blocks/000007    the slices of block 7 for every shard
    P.work/shards/00003     what is known of shard 3, once P-00003-of-000NN is there
    P.manifest.json         written last; then P.work goes

Every file appears under its name when it is complete, so a run that was killed goes on with what is missing.
"""

import concurrent.futures.process
import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import importlib.metadata
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator

import numpy as np

from chemkd_tf.atomic import write_json
from chemkd_tf.config import PretrainingDataConfig
from chemkd_tf.data.blocks import BLOCK_BYTES, Block, find_files, read_block, split_into_blocks
from chemkd_tf.data.manifest import Manifest, file_sha256, manifest_path, read_manifest, shard_path
from chemkd_tf.data.slices import BlockCounts, Plan, SliceMaker
from chemkd_tf.data.workers import WorkerPool
from chemkd_tf.errors import InputError
from chemkd_tf.progress import Progress
from chemkd_tf.text.segmentation import read_user_dictionary
from chemkd_tf.text.vocabulary import load_vocabulary

TEXT_BYTES_PER_SHARD = 16 << 20  # Times passes; 60 to 150 MB of padded records.
MOST_SHARDS = 1000
# Starting a process takes as long as some megabytes.
TEXT_BYTES_PER_WORKER = 8 << 20
VERSIONS_OF = ("numpy", "jieba")
# Flags that don't change a byte of the records.
WITHOUT_EFFECT = ("input_file", "output_file", "vocab_file", "num_workers", "dry_run", "verify", "runner")


def write_pretraining_data(
    config: PretrainingDataConfig,
    block_bytes: int = BLOCK_BYTES,
    text_bytes_per_worker: int = TEXT_BYTES_PER_WORKER,
) -> Manifest:
    """Writes the samples of a corpus: `P-00000-of-000NN` and, last, `P.manifest.json`.

    A run that did not end is taken up where it was. If the very records are there already, nothing is done. Others that
    an earlier run wrote to the same prefix are replaced, as late as possible.

    Args:
        config: the flags; `output_file` is P. The bytes depend on everything but `num_workers` and the files' names.
        block_bytes: size of a block of whole articles; the bytes depend on it.
        text_bytes_per_worker: where there is less text (times passes) than this for each worker, fewer workers are
            taken; a small corpus takes this process alone.

    Returns:
        What was written.

    Raises:
        InputError: if the corpus is missing, empty or not what `blocks.split_into_blocks` expects, the vocabulary is
            not one of BERT's, P.work is of a run with other flags, another process is at work on it, the disk is full,
            or a process was killed.
    """
    plan = make_plan(config, block_bytes)
    folder = config.output_file + ".work"
    if _is_complete(plan):
        if os.path.isdir(folder) and _begun(folder) in (None, identity(plan)):
            _remove_folder(folder)  # The run that wrote the records was killed when it had nothing else left to do.
        return read_manifest(config.output_file)
    num_workers = min(
        config.num_workers or len(os.sched_getaffinity(0)), math.ceil(_num_bytes(plan) / text_bytes_per_worker)
    )
    try:
        for name in ("blocks", "shards"):
            os.makedirs(os.path.join(folder, name), exist_ok=True)
        with _locked(folder), WorkerPool(_Worker, (plan, folder), num_workers) as run:
            _begin_or_resume(plan, folder)
            counts = _run_all(run, _spill_block, len(plan.blocks), _block_progress(plan))
            total = sum(counts, BlockCounts())
            if not total.samples:
                _remove_folder(folder)
                raise InputError(
                    f"--input_file={config.input_file}: not one of its {total.dropped_sentences:,} lines has a "
                    "token: nothing is left of them in BERT's cleaning"
                )
            _set_aside_earlier_records(config.output_file, folder)
            shards = _run_all(run, _finish_shard, plan.num_shards, _shard_progress(plan))
            assert sum(shard["samples"] for shard in shards) == total.samples, "samples were lost between the steps"
            write_json(os.path.join(folder, "manifest.json"), manifest_content(plan, total, shards))
            _remove_earlier_records(plan, folder)
            os.replace(os.path.join(folder, "manifest.json"), manifest_path(config.output_file))
            _remove_folder(folder)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InputError(
                f"--output_file={config.output_file}: the disk is full. Make room (--dry_run says how much is needed) "
                f"and give the same command again, it goes on; or delete {folder}"
            ) from None
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EEXIST):
            raise InputError(
                f"--output_file={config.output_file}: can't write there ({error.strerror}: {error.filename})"
            ) from None
        raise
    except concurrent.futures.process.BrokenProcessPool:
        raise InputError(
            "a worker process was killed, perhaps for want of memory: give the same command again, it goes on; "
            f"with fewer --num_workers than {num_workers} it needs less memory"
        ) from None
    return read_manifest(config.output_file)


def make_plan(config: PretrainingDataConfig, block_bytes: int = BLOCK_BYTES, **how_to_read) -> Plan:
    """Reads vocabulary and corpus, checks both, and says what is to be done.

    Args:
        config: the flags.
        block_bytes: see `write_pretraining_data`.
        **how_to_read: `paths` and `open_file` for `split_into_blocks`, where the corpus is not on this machine's disk.

    Raises:
        InputError: see `write_pretraining_data`.
    """
    vocabulary = load_vocabulary(config.vocab_file)
    if config.user_dictionary:
        read_user_dictionary(config.user_dictionary)  # Refuses a bad one before any work is done.
    paths = how_to_read.pop("paths", None) or find_files(config.input_file)
    corpus = split_into_blocks(paths, block_bytes, **how_to_read)
    plan = Plan(config, vocabulary, corpus.blocks, corpus.sha256, 0)
    num_shards = config.num_shards or min(MOST_SHARDS, math.ceil(_num_bytes(plan) / TEXT_BYTES_PER_SHARD))
    return dataclasses.replace(plan, num_shards=num_shards)


def identity(plan: Plan) -> dict:
    """What the bytes of the records depend on; also the flags' part of the manifest."""
    flags = {name: value for name, value in dataclasses.asdict(plan.config).items() if name not in WITHOUT_EFFECT}
    if flags["user_dictionary"]:
        flags["user_dictionary"] = file_sha256(flags["user_dictionary"])
    return {
        "flags": flags,
        "corpus_sha256": plan.corpus_sha256,
        "vocabulary_sha256": plan.vocabulary.sha256,
        "num_blocks": len(plan.blocks),
        # The same text may be parted into other files.
        "blocks_sha256": hashlib.sha256(repr([block.end - block.start for block in plan.blocks]).encode()).hexdigest(),
        "num_shards": plan.num_shards,
        "versions": {name: importlib.metadata.version(name) for name in VERSIONS_OF},
    }


def manifest_content(plan: Plan, counts: BlockCounts, shards: list[dict]) -> dict:
    """The manifest.

    Args:
        plan: of the run.
        counts: of all blocks together.
        shards: `samples`, `bytes` and `sha256` of each shard.
    """
    config, vocabulary = plan.config, plan.vocabulary
    names = [os.path.basename(shard_path(config.output_file, shard, plan.num_shards)) for shard in range(len(shards))]
    return {
        **dataclasses.asdict(counts),
        "max_seq_length": config.max_seq_length,
        "max_predictions_per_seq": config.max_predictions_per_seq,
        "masking": config.masking,
        "padded": config.pad_records and config.masking == "static",
        "masked_lm_prob": config.masked_lm_prob,
        "truncate_mode": config.truncate_mode,
        "whole_words": config.do_whole_word_mask,
        "special_ids": {
            "pad": vocabulary.pad_id,
            "start": vocabulary.start_id,
            "end": vocabulary.end_id,
            "mask": vocabulary.mask_id,
        },
        "vocabulary_size": vocabulary.size,
        **identity(plan),
        "shards": [{"file": name, **shard} for name, shard in zip(names, shards, strict=True)],
    }


class _Worker:
    """What a process keeps between calls."""

    def __init__(self, job: tuple[Plan, str]):
        self.plan, self.folder = job
        self.slice_maker = SliceMaker(self.plan)


def _num_bytes(plan: Plan) -> int:
    """Bytes of text, each as often as it is passed over."""
    passes = 1 if plan.config.masking == "dynamic" else plan.config.dupe_factor
    return sum(block.end - block.start for block in plan.blocks) * passes


def _is_complete(plan: Plan) -> bool:
    """Whether the records that `plan` would make are there."""
    path = manifest_path(plan.config.output_file)
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
        directory = os.path.dirname(path)
        return all(content[name] == value for name, value in identity(plan).items()) and all(
            os.path.getsize(os.path.join(directory, shard["file"])) == shard["bytes"] for shard in content["shards"]
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False  # Whatever is wrong with them, they will be replaced.


@contextlib.contextmanager
def _locked(folder: str) -> Iterator[None]:
    """Keeps a second process from working on the same records."""
    with open(os.path.join(folder, "lock"), "wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"--output_file: another process is writing these records ({folder} is locked): wait for it, or name "
                "another prefix"
            ) from None
        yield


def _begin_or_resume(plan: Plan, folder: str) -> None:
    begun, wanted = _begun(folder), identity(plan)
    if begun is None:
        write_json(os.path.join(folder, "plan.json"), wanted)
        return
    if begun == wanted:
        return
    flags = {**begun["flags"], **wanted["flags"]}
    differing = [f"--{name}" for name in flags if begun["flags"].get(name) != wanted["flags"].get(name)]
    differing += [
        what
        for what, key in (
            ("the corpus", "corpus_sha256"),
            ("the vocabulary", "vocabulary_sha256"),
            ("the corpus", "blocks_sha256"),
            ("the number of shards", "num_shards"),
            ("the version of a library", "versions"),
        )
        if begun[key] != wanted[key]
    ]
    raise InputError(
        f"{folder} is of a run that did not end and that had other input: {differing[0]} differs. Go on with what "
        f"it had, or delete {folder} to begin anew"
    )


def _begun(folder: str) -> dict | None:
    """The identity of the run that `folder` is of; None if it had not come so far, or was about to remove it."""
    try:
        with open(os.path.join(folder, "plan.json"), encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        return None


def _remove_folder(folder: str) -> None:
    """Removes the plan last, so that what is left if this process is killed still says what it is of."""
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if os.path.isdir(path):
            shutil.rmtree(path)
        elif name != "plan.json":
            os.remove(path)
    shutil.rmtree(folder)


def _run_all(run: Callable, task: Callable, count: int, report: Callable) -> list:
    results = []
    for result in run(task, count):
        results.append(result)
        report(results)
    report(results, done=True)
    return results


def _block_progress(plan: Plan) -> Callable:
    megabytes = np.append(0, np.cumsum([block.end - block.start for block in plan.blocks])) / 1e6
    progress = Progress("tokenising", round(megabytes[-1]) or 1, "MB")

    def report(results: list[BlockCounts], done: bool = False) -> None:
        progress.update(round(megabytes[len(results)]) or 1, samples=f"{sum(count.samples for count in results):,}")
        if done:
            progress.close()

    return report


def _shard_progress(plan: Plan) -> Callable:
    what = "writing" if plan.config.masking == "dynamic" else "masking"
    progress = Progress(what, plan.num_shards, "files")

    def report(results: list[dict], done: bool = False) -> None:
        progress.update(len(results), records=f"{sum(shard['samples'] for shard in results):,}")
        if done:
            progress.close()

    return report


_NUM_COUNTS = len(dataclasses.fields(BlockCounts))


def _spill_block(worker: _Worker, index: int) -> BlockCounts:
    """Writes the slices of a block: the counts and where each slice ends (int64), then the slices."""
    block: Block = worker.plan.blocks[index]
    path = _block_file(worker.folder, index)
    counts = _spilt_counts(path, worker.plan.num_shards)
    if counts is None:
        slices, counts = worker.slice_maker.slices(read_block(block), block.index)
        head = np.array([*dataclasses.astuple(counts), *np.cumsum([len(one) for one in slices])], "<i8")
        _write_atomically(path, (head.tobytes(), *slices))
    return counts


def _spilt_counts(path: str, num_shards: int) -> BlockCounts | None:
    """What an earlier run counted in a block; None if it did not come so far."""
    try:
        size = os.path.getsize(path)
    except FileNotFoundError:
        return None
    head = np.fromfile(path, "<i8", _NUM_COUNTS + num_shards)
    # After a power cut a file may be shorter than it was.
    if len(head) < _NUM_COUNTS + num_shards or size != head.nbytes + head[-1]:
        return None
    return BlockCounts(*head[:_NUM_COUNTS].tolist())


def _finish_shard(worker: _Worker, shard: int) -> dict:
    """Writes one shard; returns its samples, bytes and SHA-256."""
    plan = worker.plan
    path = shard_path(plan.config.output_file, shard, plan.num_shards)
    note = os.path.join(worker.folder, "shards", f"{shard:05d}")
    if os.path.exists(note):
        with open(note, encoding="utf-8") as file:
            known = json.load(file)
        if os.path.isfile(path) and os.path.getsize(path) == known["bytes"] and file_sha256(path) == known["sha256"]:
            return known
    slices = (
        _read_slice(_block_file(worker.folder, index), shard, plan.num_shards) for index in range(len(plan.blocks))
    )
    digest = hashlib.sha256()
    samples = size = 0
    partial = os.path.join(worker.folder, f"{shard:05d}.partial")
    with open(partial, "wb", buffering=0) as file:
        for count, content in worker.slice_maker.shard_content(shard, slices):
            _write_all(file, content)
            digest.update(content)
            samples += count
            size += len(content)
    os.replace(partial, path)
    result = {"samples": samples, "bytes": size, "sha256": digest.hexdigest()}
    write_json(note, result)
    return result


def _read_slice(path: str, shard: int, num_shards: int) -> bytes:
    """What one block sent to one shard."""
    head_size = 8 * (_NUM_COUNTS + num_shards)
    with open(path, "rb", buffering=0) as file:
        before = 8 * (_NUM_COUNTS + shard - 1)
        file.seek(before)
        start, end = np.frombuffer(file.read(16), "<i8").tolist()
        if shard == 0:
            start = 0
        file.seek(head_size + start)
        return file.read(end - start)


def _write_atomically(path: str, parts: tuple[bytes, ...]) -> None:
    partial = path + ".partial"
    with open(partial, "wb") as file:
        file.writelines(parts)
    os.replace(partial, path)


def _write_all(file, content: bytes) -> None:
    """Unbuffered files may take only a part at a time."""
    view = memoryview(content)
    while view:
        view = view[file.write(view) :]


def _block_file(folder: str, index: int) -> str:
    return os.path.join(folder, "blocks", f"{index:06d}")


def _set_aside_earlier_records(prefix: str, folder: str) -> None:
    """From here on shards are replaced: what the earlier manifest says is no longer true."""
    if os.path.exists(manifest_path(prefix)):
        os.replace(manifest_path(prefix), os.path.join(folder, "earlier.json"))


def _remove_earlier_records(plan: Plan, folder: str) -> None:
    """Removes the shards of an earlier run that were not replaced."""
    prefix = plan.config.output_file
    current = {shard_path(prefix, shard, plan.num_shards) for shard in range(plan.num_shards)}
    with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):
        with open(os.path.join(folder, "earlier.json"), encoding="utf-8") as file:
            names = [shard["file"] for shard in json.load(file)["shards"]]
        for name in names:
            path = os.path.join(os.path.dirname(prefix), os.path.basename(name))
            if path not in current and os.path.exists(path):
                os.remove(path)
