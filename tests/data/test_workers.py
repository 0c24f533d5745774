"""The bytes are the same from one process or from many."""

import hashlib

import psutil
import pytest
from data.record_oracles import config_for, random_corpus, read_examples, write_corpus, write_vocabulary

from chemkd_tf.data import shards
from chemkd_tf.data.shards import write_pretraining_data
from chemkd_tf.data.workers import WorkerPool

BLOCK_BYTES = 500
MODES = {
    "static whole words": {"do_whole_word_mask": True, "dupe_factor": 3},
    "dynamic": {"masking": "dynamic", "pad_records": False},
}


class WatchedPool(WorkerPool):
    """Notes which processes there are when the work is done."""

    processes: list[set[int]] = []

    def __exit__(self, *exception: object) -> None:
        children = psutil.Process().children()
        # Python's resource tracker is a child, too.
        self.processes.append({child.pid for child in children if "spawn_main" in " ".join(child.cmdline())})
        super().__exit__(*exception)


@pytest.fixture
def processes(monkeypatch) -> list[set[int]]:
    """For each run the processes that worked for it."""
    monkeypatch.setattr(shards, "WorkerPool", WatchedPool)
    monkeypatch.setattr(WatchedPool, "processes", [])
    return WatchedPool.processes


@pytest.fixture
def folder(tmp_path):
    write_vocabulary(tmp_path)
    write_corpus(tmp_path / "corpus.txt", random_corpus(21, 40))
    return tmp_path


def content(folder) -> dict[str, str]:
    """SHA-256 of every file that a run left."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def write(folder, name: str, num_workers: int, **values) -> dict[str, str]:
    """Writes the records to a folder of their own, as `name`/P, with as many processes as asked for."""
    (folder / name).mkdir()
    config = config_for(
        folder, output_file=str(folder / name / "P"), num_workers=num_workers, num_shards=3, **values
    )  # fmt: skip
    write_pretraining_data(config, block_bytes=BLOCK_BYTES, text_bytes_per_worker=1)
    return content(folder / name)


@pytest.mark.parametrize("mode", MODES)
def test_one_two_and_five_processes_write_the_same_bytes(folder, processes, mode):
    expected = write(folder, "one", 1, **MODES[mode])
    assert set(expected) == {"P.manifest.json", *(f"P-0000{shard}-of-00003" for shard in range(3))}
    assert len(set(expected.values())) == 4
    # More blocks than processes, so that each has something to do.
    assert (folder / "corpus.txt").stat().st_size > 10 * BLOCK_BYTES
    for num_workers in (2, 5):
        assert write(folder, str(num_workers), num_workers, **MODES[mode]) == expected
    assert [len(found) for found in processes] == [0, 2, 5]
    assert not any(psutil.pid_exists(process) for found in processes for process in found)


def test_a_small_corpus_takes_this_process_alone(folder, processes):
    write_pretraining_data(config_for(folder, num_workers=5))
    assert processes == [set()]


def test_names_of_files_do_not_matter(folder):
    corpus = (folder / "corpus.txt").read_bytes()
    (folder / "b.txt").write_bytes(corpus)
    (folder / "vocab.txt").rename(folder / "entries")
    renamed = {"input_file": str(folder / "b.txt"), "vocab_file": str(folder / "entries")}
    found = write(folder, "renamed", 1, **renamed)
    (folder / "entries").rename(folder / "vocab.txt")
    assert found == write(folder, "named", 1)


def test_two_files_hold_the_samples_of_one(folder):
    """Blocks end with files, so random numbers differ; the samples don't."""
    articles = random_corpus(21, 40)
    for name, part in (("z.txt", articles[:13]), ("a.txt", articles[13:])):
        write_corpus(folder / name, part)
    write(folder, "whole", 1, masking="dynamic")
    write(folder, "parted", 1, masking="dynamic", input_file=f"{folder}/z.txt,{folder}/a.txt")
    whole, parted = (read_examples(str(folder / name / "P")) for name in ("whole", "parted"))
    assert sorted(example["input_ids"] for example in parted) == sorted(example["input_ids"] for example in whole)
    assert len(whole) == sum(map(len, articles))
