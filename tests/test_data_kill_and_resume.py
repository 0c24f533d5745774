"""Data preparation that is killed and started again: the bytes of a run that was left alone.

Processes are killed at random moments (slow). Beside that, a run in this process dies before each single change that it
makes to the file system.
"""

import builtins
import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
from data.record_oracles import config_for, random_corpus, write_corpus, write_vocabulary

from chemkd_tf.config import PretrainingDataConfig
from chemkd_tf.data.shards import write_pretraining_data
from chemkd_tf.errors import InputError
from chemkd_tf.text.vocabulary import save_vocabulary, vocabulary_of

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LIMIT = 300  # seconds


def content(folder: Path) -> dict[str, str]:
    """SHA-256 of the files in a folder; of a folder in it just the name."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "a folder"
        for path in (folder.iterdir() if folder.exists() else ())
    }


def shards_in(files: dict[str, str]) -> dict[str, str]:
    return {name: digest for name, digest in files.items() if "-of-" in name}


def assert_manifest_is_true(folder: Path) -> None:
    """A manifest is there only with all the files that it names."""
    if (folder / "P.manifest.json").exists():
        manifest = json.loads((folder / "P.manifest.json").read_text(encoding="utf-8"))
        files = content(folder)
        for shard in manifest["shards"]:
            assert files[shard["file"]] == shard["sha256"]


# --- In this process: a death before each change. ---


class Death(BaseException):
    """Neither an Exception nor an OSError: nothing handles it."""


class Mortal:
    """Context manager: dies before a change to the file system; the dead change nothing.

    Args:
        last: dies before the change of this number, from 1.
        behind: dies before the first change when there is this file.
    """

    CHANGES = ("replace", "rename", "remove", "unlink", "rmdir", "mkdir", "fsync", "truncate")
    _runs = 0

    def __init__(self, last: int | None = None, behind: Path | None = None):
        self.changes = 0
        self.dead = False
        self._last, self._behind = last, behind
        self._patch = pytest.MonkeyPatch()

    def __enter__(self) -> "Mortal":
        Mortal._runs += 1
        process_id = 10_000_000 + Mortal._runs
        for name in self.CHANGES:
            change = getattr(os, name)
            # To write to a disk really takes longer than all the rest.
            self._patch.setattr(os, name, self._counted((lambda *_: None) if name == "fsync" else change))
        self._patch.setattr(os, "getpid", lambda: process_id)
        really_open, counted_open = builtins.open, self._counted(builtins.open)

        def open_(file, mode="r", *arguments, **options):
            return (really_open if set(mode) <= set("rbt") else counted_open)(file, mode, *arguments, **options)

        self._patch.setattr(builtins, "open", open_)
        return self

    def __exit__(self, kind: type | None, *_: object) -> bool:
        self._patch.undo()
        return kind is Death

    def _counted(self, change):
        def counted(*arguments, **options):
            self.changes += 1
            self.dead |= self.changes == self._last or (self._behind is not None and self._behind.exists())
            if self.dead:
                raise Death
            return change(*arguments, **options)

        return counted


class Case(NamedTuple):
    """Flags of a run, and those of an earlier one that wrote to the same prefix."""

    flags: dict
    earlier: dict | None = None


CASES = {
    "first": Case({"num_shards": 3}),
    "in place of fewer files": Case({"num_shards": 3}, {"num_shards": 2, "random_seed": 7}),
    "in place of more files": Case({"num_shards": 2}, {"num_shards": 4, "dupe_factor": 1}),
    "in place of files of the same names": Case({"num_shards": 2}, {"num_shards": 2, "random_seed": 7}),
}
OTHERS = {"num_shards": 2, "random_seed": 99, "dupe_factor": 3}


@pytest.fixture
def folder(tmp_path):
    """A corpus of six blocks, apart from what is written."""
    write_vocabulary(tmp_path)
    write_corpus(tmp_path / "corpus.txt", random_corpus(31, 12))
    return tmp_path


def write(folder: Path, name: str, block_bytes: int = 500, **flags) -> dict[str, str]:
    """Writes records to folder/name/P; returns what there is then."""
    write_pretraining_data(config_for(folder, output_file=str(folder / name / "P"), **flags), block_bytes)
    return content(folder / name)


def deaths(folder: Path, case: Case):
    """Yields the folder of a run that died, for each change that a run makes."""
    with Mortal() as alive:
        if case.earlier:
            write(folder, "counted", **case.earlier)
        before = alive.changes
        write(folder, "counted", **case.flags)
    changes = alive.changes - before
    assert changes > 40
    for last in range(1, changes + 1):
        name = f"died-{last}"
        with Mortal():
            if case.earlier:
                write(folder, name, **case.earlier)
        with Mortal(last) as mortal:
            write(folder, name, **case.flags)
        assert mortal.dead
        yield name


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_the_same_command_ends_well_after_a_death_before_any_change(folder, case):
    expected = write(folder, "expected", **case.flags)
    earlier = write(folder, "earlier", **case.earlier) if case.earlier else {}
    whole = {*shards_in(expected).items(), *shards_in(earlier).items()}
    failed = {}
    for name in deaths(folder, case):
        assert set(shards_in(content(folder / name)).items()) <= whole, f"{name}: an incomplete file"
        assert_manifest_is_true(folder / name)
        with Mortal():
            found = write(folder, name, **case.flags)
        if found != expected:
            failed[name] = sorted(set(found) ^ set(expected)) or "other bytes"
    assert not failed


def test_a_command_with_other_flags_never_takes_over_what_a_dead_one_left(folder):
    case = CASES["first"]
    case = Case({**case.flags, "num_shards": OTHERS["num_shards"]})
    expected = write(folder, "expected", **OTHERS)
    refused, failed = 0, {}
    for name in deaths(folder, case):
        before = content(folder / name)
        try:
            with Mortal():
                found = write(folder, name, **OTHERS)
        except InputError as error:
            assert "P.work is of a run" in str(error)
            assert content(folder / name) == before
            refused += 1
            continue
        if shards_in(found) != shards_in(expected):
            failed[name] = "other bytes"
        elif found != expected:
            failed[name] = sorted(set(found) ^ set(expected)) or "another manifest"
    assert not failed and refused > 20


DIFFERENT = {
    "do_lower_case": False,
    "do_whole_word_mask": True,
    "max_seq_length": 17,
    "max_predictions_per_seq": 5,
    "masked_lm_prob": 0.2,
    "random_seed": 1,
    "dupe_factor": 3,
    "sample_mode": "packed",
    "truncate_mode": "side_coin",
    "masking": "dynamic",
    "pad_records": False,
    "num_shards": 3,
    "write_nsp_labels": True,
}
SAME_BYTES = {"input_file", "output_file", "vocab_file", "num_workers", "dry_run", "verify", "runner"}


def test_every_flag_that_changes_the_bytes_is_named_when_it_differs_from_an_unfinished_run(folder):
    flags = {field.name for field in dataclasses.fields(PretrainingDataConfig)}
    assert flags == {*DIFFERENT, *SAME_BYTES, "user_dictionary"}, "say of a new flag whether it changes the bytes"
    expected = write(folder, "expected", num_shards=2)

    def die_in(name: str, **flags) -> None:
        with Mortal(behind=folder / name / "P.work" / "blocks" / "000001") as mortal:
            write(folder, name, num_shards=2, **flags)
        assert mortal.dead and content(folder / name) == {"P.work": "a folder"}

    die_in("died")
    for name, value in DIFFERENT.items():
        with pytest.raises(InputError, match=rf"P\.work is of a run .* --{name} differs"):
            write(folder, "died", **{"num_shards": 2, name: value})
    assert write(folder, "died", num_shards=2, num_workers=7) == expected

    (folder / "words.txt").write_text("酸碱\n", encoding="utf-8")
    whole_words = {"do_whole_word_mask": True, "user_dictionary": str(folder / "words.txt")}
    die_in("with a dictionary", **whole_words)
    (folder / "words.txt").write_text("酸盐\n", encoding="utf-8")
    with pytest.raises(InputError, match="--user_dictionary differs"):
        write(folder, "with a dictionary", num_shards=2, **whole_words)


def test_a_corpus_parted_into_files_elsewhere_is_another_corpus(folder):
    """The same text, the same number of blocks, but other blocks and other articles."""
    lines = [f"{'酸' * 10}{number:05d}\n\n" for number in range(60)]
    files = {"input_file": f"{folder}/a.txt,{folder}/b.txt", "num_shards": 1, "max_seq_length": 40}
    files["block_bytes"] = 20 * len(lines[0].encode("utf-8"))

    def part(at: int) -> None:
        (folder / "a.txt").write_text("".join(lines[:at]), encoding="utf-8")
        (folder / "b.txt").write_text("".join(lines[at:]), encoding="utf-8")

    part(35)
    expected = write(folder, "expected", **files)
    part(30)
    with Mortal(behind=folder / "died" / "P.work" / "blocks" / "000001") as mortal:
        write(folder, "died", **files)
    assert mortal.dead
    part(35)
    try:
        found = write(folder, "died", **files)
    except InputError as error:
        assert "the corpus differs" in str(error)
    else:
        assert found == expected


# --- Processes. ---


class Prepared(NamedTuple):
    """A corpus, and the records of a run that was left alone."""

    folder: Path
    expected: dict[str, str]
    num_blocks: int
    first_block: float  # Seconds until it was there,
    last_block: float
    end: float


FLAGS = ("--num_workers=2", "--num_shards=12", "--max_seq_length=64", "--nopad_records", "--dupe_factor=10")
KILLS = 20


def prepare(folder: Path, size: int, *flags: str) -> Prepared:
    """Makes a corpus of `size` bytes and its records, at `expected`."""
    characters = [chr(0x4E00 + index) for index in range(3000)]
    save_vocabulary(vocabulary_of([*characters, "。"]), str(folder / "vocab.txt"))
    rng = random.Random(41)
    with open(folder / "corpus.txt", "w", encoding="utf-8") as file:
        while file.tell() < size:
            lines = ["".join(rng.choices(characters, k=rng.randint(3, 90))) + "。\n" for _ in range(rng.randint(1, 9))]
            file.write("".join(lines) + "\n")
    started = time.monotonic()
    process = start(folder, "expected", *flags)
    work = folder / "expected" / "P.work"
    wait_for(lambda: blocks_in(folder / "expected"), process)
    first_block = time.monotonic() - started
    num_blocks = 0
    last_block = first_block
    while process.poll() is None:
        found = len(blocks_in(folder / "expected")) if work.exists() else 0
        if found > num_blocks:
            num_blocks, last_block = found, time.monotonic() - started
        time.sleep(0.001)
    end = time.monotonic() - started
    assert finish(process) == []
    expected = content(folder / "expected")
    assert set(expected) == {"P.manifest.json", *(f"P-{shard:05d}-of-00012" for shard in range(12))}
    return Prepared(folder, expected, num_blocks, first_block, last_block, end)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Prepared:
    return prepare(tmp_path_factory.mktemp("prepared"), 8_000_000)


def start(folder: Path, name: str, *flags: str) -> subprocess.Popen:
    """The script at work on folder/name/P, in a process group of its own."""
    return subprocess.Popen(
        [
            sys.executable,
            "data_prep/create_pretraining_data.py",
            f"--input_file={folder}/corpus.txt",
            f"--vocab_file={folder}/vocab.txt",
            f"--output_file={folder}/{name}/P",
            *FLAGS,
            *flags,
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell's background job ignores Ctrl-C, and so does all that it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def finish(process: subprocess.Popen, status: int = 0) -> list[str]:
    """Waits for the end; returns what stands on standard error beside progress."""
    _, stderr = process.communicate(timeout=LIMIT)
    assert process.returncode == status, stderr[-2000:]
    return [line for line in stderr.splitlines() if not line.startswith(("tokenising ", "masking ", "writing "))]


def kill(process: subprocess.Popen) -> bool:
    """kill -9 of the process and its workers; returns whether it was alive."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def wait_for(condition, process: subprocess.Popen) -> None:
    until = time.monotonic() + LIMIT
    while not condition():
        assert process.poll() is None and time.monotonic() < until, "it ended too soon"
        time.sleep(0.001)


def group_of(process: subprocess.Popen) -> list[int]:
    """Processes of its group that are left."""
    left = []
    for other in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if os.getpgid(other.pid) == process.pid and other.status() != psutil.STATUS_ZOMBIE:
                left.append(other.pid)
    return left


def end_of_group(process: subprocess.Popen) -> list[int]:
    """Waits a little for its workers to end; ends those that don't and returns their numbers."""
    until = time.monotonic() + 5
    while (left := group_of(process)) and time.monotonic() < until:
        time.sleep(0.05)
    for worker in left:
        os.kill(worker, signal.SIGKILL)
    return left


def blocks_in(folder: Path) -> dict[str, tuple[int, int]]:
    """Finished blocks of a run that did not end, and which file it is."""
    found = {}
    with contextlib.suppress(FileNotFoundError):
        for path in (folder / "P.work" / "blocks").iterdir():
            if path.suffix == "":
                status = path.stat()
                found[path.name] = (status.st_ino, status.st_mtime_ns)
    return found


def has_more_blocks(folder: Path, known: int) -> bool:
    return len(blocks_in(folder)) > known


def start_and_kill(prepared: Prepared, name: str, when: str) -> Path:
    """A run that was killed when there were some blocks ("tokenising") or some shards ("masking")."""
    folder = prepared.folder / name
    process = start(prepared.folder, name)
    enough = (lambda: len(blocks_in(folder)) >= 2) if when == "tokenising" else (lambda: len(notes_in(folder)) >= 2)
    wait_for(enough, process)
    assert kill(process)
    assert (folder / "P.work" / "plan.json").exists() and not (folder / "P.manifest.json").exists()
    return folder


def notes_in(folder: Path) -> list[str]:
    """What is known of finished shards."""
    return os.listdir(folder / "P.work" / "shards") if (folder / "P.work" / "shards").exists() else []


def kill_at_random(prepared: Prepared, rng: random.Random, name: str, *flags: str) -> Counter[str]:
    """Kills a run and starts it again until it ends; returns how often it was killed at what.

    After every kill, files under final names are complete; at the end there is what an undisturbed run leaves.
    """
    folder = prepared.folder / name
    hits: Counter[str] = Counter()
    blocks: dict[str, tuple[int, int]] = {}
    patience = 1.0  # Grows on a machine that is busier than when the undisturbed run was timed.
    while True:
        process = start(prepared.folder, name, *flags)
        if rng.random() < 0.1:  # Some die before they have begun.
            time.sleep(rng.uniform(0, prepared.first_block))
        elif len(blocks) < prepared.num_blocks - 1:  # After a block it finishes, however fast the machine is.
            wait_for(functools.partial(has_more_blocks, folder, len(blocks)), process)
            time.sleep(rng.uniform(0, (prepared.last_block - prepared.first_block) / prepared.num_blocks))
        else:
            time.sleep(rng.uniform(prepared.first_block, prepared.end) * patience)
        was_alive = kill(process)
        assert not end_of_group(process)
        files = content(folder)
        assert shards_in(files).items() <= prepared.expected.items(), "an incomplete file under its final name"
        if not was_alive:
            assert process.returncode == 0
            assert files == prepared.expected
            return hits
        assert_manifest_is_true(folder)
        found = blocks_in(folder)
        if "P.manifest.json" in files:
            hits["ending"] += 1
        else:
            assert blocks.items() <= found.items(), "a finished block was made again"
            patience = 1.0 if len(found) > len(blocks) else 1.2 * patience
            blocks = found
            hits["starting" if not found else "masking" if len(found) == prepared.num_blocks else "tokenising"] += 1


@pytest.mark.slow
def test_runs_killed_at_random_moments_end_with_the_bytes_of_one_that_was_left_alone(prepared):
    rng = random.Random(43)
    hits: Counter[str] = Counter()
    runs = 0
    while sum(hits.values()) < KILLS or hits["tokenising"] < 4 or hits["masking"] < 4:
        assert runs < 30
        hits += kill_at_random(prepared, rng, f"run-{runs}")
        runs += 1
    print(f"{sum(hits.values())} kills, {runs} runs: {dict(hits)}")


@pytest.mark.slow
def test_killed_runs_with_whole_words_and_dynamic_masks_end_well(tmp_path):
    flags = ("--masking=dynamic", "--do_whole_word_mask")
    prepared = prepare(tmp_path, 8_000_000, *flags)
    rng = random.Random(44)
    hits: Counter[str] = Counter()
    runs = 0
    while hits["tokenising"] < 4:
        assert runs < 10
        hits += kill_at_random(prepared, rng, f"run-{runs}", *flags)
        runs += 1
    print(f"{sum(hits.values())} kills, {runs} runs: {dict(hits)}")


@pytest.mark.slow
@pytest.mark.parametrize("when", ["tokenising", "masking"])
@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGTERM])
def test_workers_do_not_outlive_the_process_that_started_them(prepared, when, kind):
    name = f"parent-{when}-{kind.name}"
    folder = prepared.folder / name
    process = start(prepared.folder, name)
    wait_for(lambda: blocks_in(folder) if when == "tokenising" else notes_in(folder), process)
    os.kill(process.pid, kind)
    process.wait(LIMIT)
    again = start(prepared.folder, name)  # at once
    left = end_of_group(process)
    process.communicate()
    assert finish(again) == []
    assert content(folder) == prepared.expected
    assert not left


@pytest.mark.slow
def test_a_killed_worker_is_one_line_and_the_same_command_goes_on(prepared):
    folder = prepared.folder / "worker"
    process = start(prepared.folder, "worker")
    wait_for(lambda: len(blocks_in(folder)) >= 2, process)
    workers = [
        child.pid for child in psutil.Process(process.pid).children() if "spawn_main" in " ".join(child.cmdline())
    ]
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGKILL)
    (line,) = finish(process, 2)
    assert line.startswith("error: a worker process was killed") and "the same command" in line
    assert not end_of_group(process)
    assert blocks_in(folder)
    assert finish(start(prepared.folder, "worker")) == []
    assert content(folder) == prepared.expected


@pytest.mark.slow
@pytest.mark.parametrize("whole_group", [False, True], ids=["to the process", "to its group, as a terminal does"])
@pytest.mark.parametrize("when", ["starting workers", "tokenising", "masking"])
def test_an_interrupted_run_says_so_in_one_line_and_can_be_resumed(prepared, when, whole_group):
    name = f"interrupted-{when}-{whole_group}"
    folder = prepared.folder / name
    process = start(prepared.folder, name)
    if when == "starting workers":
        wait_for(lambda: psutil.Process(process.pid).children(), process)
        time.sleep(0.2)
    else:
        wait_for(lambda: blocks_in(folder) if when == "tokenising" else notes_in(folder), process)
    (os.killpg if whole_group else os.kill)(process.pid, signal.SIGINT)
    lines = finish(process, 130)
    assert len(lines) == 1 and lines[0].startswith("interrupted;") and "the same command" in lines[0]
    assert not end_of_group(process)
    assert shards_in(content(folder)).items() <= prepared.expected.items()
    assert not (folder / "P.manifest.json").exists()
    assert finish(start(prepared.folder, name)) == []
    assert content(folder) == prepared.expected


@pytest.mark.slow
def test_a_second_process_on_the_same_records_is_refused(prepared):
    folder = prepared.folder / "twice"
    first = start(prepared.folder, "twice")
    wait_for(lambda: blocks_in(folder), first)
    os.killpg(first.pid, signal.SIGSTOP)
    before = content(folder / "P.work" / "blocks")
    (line,) = finish(start(prepared.folder, "twice"), 2)
    assert line.startswith("error: --output_file") and "another process is writing these records" in line
    assert content(folder / "P.work" / "blocks") == before
    os.killpg(first.pid, signal.SIGCONT)
    assert finish(first) == []
    assert content(folder) == prepared.expected


@pytest.mark.slow
@pytest.mark.parametrize("when", ["tokenising", "masking"])
def test_other_flags_or_another_corpus_do_not_resume_a_killed_run(prepared, when):
    folder = start_and_kill(prepared, f"other-{when}", when)
    before = content(folder)
    for flag in ("--random_seed=5", "--dupe_factor=9", "--num_shards=11", "--pad_records"):
        (line,) = finish(start(prepared.folder, folder.name, flag), 2)
        name = flag.split("=")[0]
        assert line.startswith(f"error: {folder}/P.work is of a run that did not end") and f"{name} differs" in line
    corpus = prepared.folder / "corpus.txt"
    size = corpus.stat().st_size
    try:
        with open(corpus, "a", encoding="utf-8") as file:
            file.write("\n丁\n")
        (line,) = finish(start(prepared.folder, folder.name), 2)
    finally:
        os.truncate(corpus, size)
    assert line.startswith(f"error: {folder}/P.work is of a run") and "the corpus differs" in line
    assert content(folder) == before
    assert finish(start(prepared.folder, folder.name)) == []
    assert content(folder) == prepared.expected


@pytest.mark.slow
def test_what_is_complete_is_left_untouched(prepared):
    folder = prepared.folder / "expected"
    before = {path.name: path.stat() for path in folder.iterdir()}
    for flags in ((), ("--num_workers=1",)):
        process = start(prepared.folder, "expected", *flags)
        assert finish(process) == []
    after = {path.name: path.stat() for path in folder.iterdir()}
    assert {name: (status.st_ino, status.st_mtime_ns) for name, status in after.items()} == {
        name: (status.st_ino, status.st_mtime_ns) for name, status in before.items()
    }


@pytest.mark.slow
def test_files_that_a_power_cut_shortened_are_made_again(prepared):
    folder = start_and_kill(prepared, "power cut", "masking")
    blocks = sorted((folder / "P.work" / "blocks").iterdir())
    assert len(blocks) > 4
    # To nothing, within the head, within the slices, by one byte.
    for block, size in zip(blocks, (0, 50, blocks[2].stat().st_size // 2, blocks[3].stat().st_size - 1), strict=False):
        os.truncate(block, size)
    shards = sorted(folder.glob("P-*-of-*"))
    assert len(shards) >= 2
    os.truncate(shards[0], shards[0].stat().st_size // 2)
    with open(shards[1], "r+b") as file:  # the size is right, the content isn't
        file.seek(1000)
        file.write(bytes(1000))
    assert finish(start(prepared.folder, "power cut")) == []
    assert content(folder) == prepared.expected
