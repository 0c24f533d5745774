"""Corpora, dictionaries and disks as they come: one line that says what to do, or the right records."""

import builtins
import errno
import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from data.record_oracles import config_for, ids_of, random_corpus, read_examples, unmask, write_corpus, write_vocabulary

from chemkd_tf.data.shards import write_pretraining_data
from chemkd_tf.errors import InputError

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRESS = re.compile(r"(tokenising|masking|writing) +[\d,]+/[\d,]+ ")
# Prints the largest resident set of its only child, in KiB. A child of pytest itself would inherit pytest's.
MEASURE = (
    "import resource, subprocess, sys; status = subprocess.call(sys.argv[1:]);"
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(status)"
)


@pytest.fixture
def folder(tmp_path):
    write_vocabulary(tmp_path)
    return tmp_path


def run(folder: Path, corpus: str, *flags: str, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
    """The script, from folder/corpus to folder/P."""
    return subprocess.run(
        [
            *prefix,
            sys.executable,
            os.path.join(ROOT, "data_prep", "create_pretraining_data.py"),
            f"--input_file={corpus}",
            "--vocab_file=vocab.txt",
            "--output_file=P",
            "--max_seq_length=16",
            "--max_predictions_per_seq=4",
            "--dupe_factor=2",
            *flags,
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def error_of(folder: Path, corpus: str, *flags: str, **options) -> str:
    """The one line that a refused run prints; nothing is left of it."""
    before = content(folder)
    done = run(folder, corpus, *flags, **options)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert content(folder) == before
    return line.removeprefix("error: ")


def texts_of(folder: Path, corpus: str) -> list[list[int]]:
    """Token ids of the records of a corpus that is accepted."""
    done = run(folder, corpus)
    assert done.returncode == 0, done.stderr
    assert all(PROGRESS.match(line) for line in done.stderr.splitlines())
    return sorted(unmask(example) for example in read_examples(str(folder / "P")))


def content(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in a folder and in its folders."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# --- The corpus. ---


def test_invalid_utf8_is_named_with_its_line(folder):
    (folder / "good.txt").write_text("酸\n\n碱\n", encoding="utf-8")
    (folder / "bad.txt").write_bytes("酸\n\n碱".encode() + "酸碱".encode("gb18030") + b"\n")
    line = error_of(folder, "good.txt,bad.txt")
    assert line.startswith("bad.txt:3: not UTF-8 (byte 0xcb at position 4 of the line)") and "GB18030" in line


def test_utf16_is_refused(folder):
    (folder / "corpus.txt").write_bytes("酸碱\n".encode("utf-16"))
    assert error_of(folder, "corpus.txt").startswith("corpus.txt:1: not UTF-8 (byte 0xff at position 1")


def test_nul_bytes_a_byte_order_mark_and_crlf_make_no_token(folder):
    plain = "酸碱盐\n水\n\n化学反应\n"
    strange = "\ufeff" + plain.replace("\n", "\r\n").replace("碱", "\x00碱\x00")
    (folder / "corpus.txt").write_bytes(strange.encode("utf-8"))
    assert texts_of(folder, "corpus.txt") == sorted(2 * [ids_of(text) for text in plain.split()])


def test_crlf_gives_the_records_of_lf(folder):
    for name, ending in (("lf", "\n"), ("crlf", "\r\n")):
        text = ending.join("\n\n".join("\n".join(article) for article in random_corpus(5, 9)).split("\n")) + ending
        (folder / f"{name}.txt").write_bytes(text.encode("utf-8"))
        # One block, so that random numbers don't differ.
        write_pretraining_data(
            config_for(folder, input_file=str(folder / f"{name}.txt"), output_file=str(folder / name / "P"))
        )
    shard = "P-00000-of-00001"
    assert (folder / "lf" / shard).read_bytes() == (folder / "crlf" / shard).read_bytes() != b""


def test_carriage_returns_alone_part_nothing(folder):
    """Mac OS's line ends of before 2001 are white space to BERT's tokeniser: such a file is one sentence."""
    (folder / "corpus.txt").write_bytes("酸碱\r盐水\r\r化学反应\r".encode())
    assert texts_of(folder, "corpus.txt") == 2 * [ids_of("酸碱盐水化学反应")]


@pytest.mark.parametrize("character", ["a", "酸", "😀"], ids=["1 byte", "3 bytes", "4 bytes"])
def test_a_line_of_50_megabytes_is_refused_with_its_number_and_in_little_memory(folder, character):
    (folder / "corpus.txt").write_bytes(
        "酸碱\n\n盐\n".encode() + (character * (50_000_000 // len(character.encode()))).encode()
    )
    done = run(folder, "corpus.txt", prefix=(sys.executable, "-c", MEASURE))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: corpus.txt:4: a line of more than 1,048,576 bytes") and "clean_corpus.py" in line
    assert int(done.stdout) * 1024 < 600_000_000
    assert sorted(os.listdir(folder)) == ["corpus.txt", "vocab.txt"]


@pytest.mark.parametrize("before", [0, 500_000, 3_600_000], ids="behind {} bytes".format)
@pytest.mark.parametrize("excess", [2, 500_000, 1_600_000, 6_000_000], ids="{} too many".format)
def test_a_line_that_is_too_long_is_called_that_wherever_it_stands_in_its_article(folder, before, excess):
    lines = ["酸碱盐水" * 10] * (before // 121)
    long = "酸" * ((1_048_576 + excess) // 3)
    (folder / "corpus.txt").write_text("\n".join([*lines, long, "盐", "", "水"]) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=rf"corpus\.txt:{len(lines) + 1}: a line of more than 1,048,576 bytes"):
        write_pretraining_data(config_for(folder))


def test_the_longest_line_that_is_allowed_makes_a_sample(folder):
    (folder / "corpus.txt").write_text("盐\n" + "酸" * (1_048_576 // 3) + "\n水\n", encoding="utf-8")
    manifest = write_pretraining_data(config_for(folder, dupe_factor=1))
    assert manifest.num_samples == 3
    found = sorted(unmask(example) for example in read_examples(str(folder / "P")))
    assert found == sorted([ids_of("盐"), ids_of("酸" * 14), ids_of("水")])


@pytest.mark.parametrize("text", ["", "\n \n\u3000\n\t\r\n"], ids=["empty", "blank"])
def test_a_file_without_text_is_refused(folder, text):
    (folder / "corpus.txt").write_text(text, encoding="utf-8")
    assert error_of(folder, "corpus.txt") == "--input_file: no text in corpus.txt: expected one sentence a line"


def test_a_file_without_a_token_is_refused(folder):
    (folder / "corpus.txt").write_bytes("\ufeff\x00\n\u200b\n".encode())
    before = content(folder)
    done = run(folder, "corpus.txt")
    assert done.returncode == 2
    (line,) = (line for line in done.stderr.splitlines() if not PROGRESS.match(line))
    assert line.startswith("error: --input_file=corpus.txt: not one of its 2 lines has a token")
    assert content(folder) == before and not (folder / "P.work").exists()


def test_a_folder_a_missing_file_and_a_glob_without_match_are_refused(folder):
    (folder / "texts").mkdir()
    (folder / "texts" / "a.txt").write_text("酸\n", encoding="utf-8")
    assert error_of(folder, "texts/") == "--input_file: texts/ is a folder: name its files, as in 'texts/*.txt'"
    assert "no file matches 'nowhere.txt'" in error_of(folder, "texts/a.txt,nowhere.txt")
    assert "no file matches 'texts/*.text'" in error_of(folder, "texts/*.text")


def test_compressed_files_are_refused_whole_or_truncated(folder):
    packed = gzip.compress("\n\n".join("\n".join(article) for article in random_corpus(1, 50)).encode())
    (folder / "corpus.txt.gz").write_bytes(packed)
    line = error_of(folder, "corpus.txt.gz")
    assert line.startswith("corpus.txt.gz: compressed") and "unpack it" in line and "clean_corpus.py" in line
    (folder / "corpus.txt.gz").write_bytes(packed[: len(packed) // 2])
    assert error_of(folder, "corpus.txt.gz") == line
    # Without its ending.
    (folder / "corpus.txt.gz").rename(folder / "corpus.txt")
    assert error_of(folder, "corpus.txt").startswith("corpus.txt:1: not UTF-8 (byte 0x8b at position 2")


def without_privileges() -> tuple[str, ...]:
    """A command in front of which a file's permissions count, for root too."""
    if os.geteuid():
        return ()
    setpriv = shutil.which("setpriv")
    if not setpriv:
        pytest.skip("root may read and write everything, and there is no setpriv to lay that down")
    return (setpriv, "--bounding-set=-dac_override,-dac_read_search")


def test_files_and_folders_without_permission_are_named(folder):
    prefix = without_privileges()
    (folder / "secret.txt").write_text("酸\n", encoding="utf-8")
    (folder / "words.txt").write_text("酸碱\n", encoding="utf-8")
    (folder / "corpus.txt").write_text("酸\n", encoding="utf-8")
    (folder / "closed").mkdir()
    (folder / "closed").chmod(0o555)
    (folder / "secret.txt").chmod(0)
    try:
        probe = subprocess.run([*prefix, "cat", "secret.txt"], cwd=folder, capture_output=True, check=False)
        if probe.returncode == 0:
            pytest.skip("permissions don't count here")
        for corpus, flags, start in (
            ("secret.txt", (), "secret.txt: can't read the corpus: Permission denied"),
            ("corpus.txt", ("--output_file=closed/P",), "--output_file=closed/P: can't write there (Permission denied"),
            ("corpus.txt", ("--output_file=closed/a/P",), "--output_file=closed/a/P: can't write there (Permission"),
            ("corpus.txt", ("--do_whole_word_mask", "--user_dictionary=secret.txt"), "--user_dictionary=secret.txt: "),
        ):
            done = run(folder, corpus, *flags, prefix=prefix)
            assert done.returncode == 2
            (line,) = done.stderr.splitlines()
            assert line.startswith(f"error: {start}")
    finally:
        (folder / "secret.txt").chmod(0o600)
        (folder / "closed").chmod(0o755)
    assert sorted(os.listdir(folder)) == ["closed", "corpus.txt", "secret.txt", "vocab.txt", "words.txt"]


# --- The user dictionary. ---


def test_a_user_dictionary_that_is_missing_or_malformed_is_named(folder):
    (folder / "corpus.txt").write_text("酸\n", encoding="utf-8")
    (folder / "four.txt").write_text("聚氯乙烯 5 n\n\n甲醇 3 n 酒精\n", encoding="utf-8")
    (folder / "gbk.txt").write_bytes("甲醇\n".encode() + "聚氯乙烯\n".encode("gb18030"))
    flags = ("--do_whole_word_mask",)
    line = error_of(folder, "corpus.txt", *flags, "--user_dictionary=nowhere.txt")
    assert line.startswith("--user_dictionary=nowhere.txt: can't read it (No such file or directory)")
    line = error_of(folder, "corpus.txt", *flags, "--user_dictionary=four.txt")
    assert line.startswith("four.txt:3: expected a word, its frequency and its tag") and "甲醇 3 n 酒精" in line
    line = error_of(folder, "corpus.txt", *flags, "--user_dictionary=gbk.txt")
    assert line.startswith("gbk.txt:2: not UTF-8")
    line = error_of(folder, "corpus.txt", "--user_dictionary=four.txt")
    assert "add --do_whole_word_mask" in line


# --- The place to write to. ---


def test_an_output_below_a_file_is_refused(folder):
    (folder / "corpus.txt").write_text("酸\n", encoding="utf-8")
    (folder / "file").write_text("", encoding="utf-8")
    for output in ("file/P", "file/folder/P"):
        line = error_of(folder, "corpus.txt", f"--output_file={output}")
        assert line.startswith(f"--output_file={output}: can't write there (Not a directory: ")


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 600 kB."""
    if os.geteuid():
        pytest.skip("only root may mount a disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(disk)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"can't mount a disk: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.mark.parametrize("num_workers", [1, 2])
@pytest.mark.parametrize("room", [40_000, 250_000], ids=["for some blocks", "for some shards"])
def test_on_a_full_disk_a_run_stops_in_one_line_and_goes_on_when_there_is_room(folder, small_disk, room, num_workers):
    write_corpus(folder / "corpus.txt", random_corpus(6, 200))
    flags = {"num_shards": 5, "input_file": str(folder / "corpus.txt")}
    write_pretraining_data(config_for(folder, output_file=str(folder / "expected" / "P"), **flags), block_bytes=5000)
    expected = content(folder / "expected")
    filler = small_disk / "filler"
    free = os.statvfs(small_disk)
    filler.write_bytes(bytes(free.f_bavail * free.f_frsize - room))
    config = config_for(folder, output_file=str(small_disk / "P"), num_workers=num_workers, **flags)
    for _ in range(2):
        with pytest.raises(InputError, match="the disk is full. Make room .* the same command again, it goes on"):
            write_pretraining_data(config, block_bytes=5000, text_bytes_per_worker=1)
        found = content(small_disk)
        assert "P.manifest.json" not in found
        shards = {name: digest for name, digest in found.items() if "-of-" in name}
        assert shards.items() <= expected.items() and bool(shards) == (room > 100_000)
        assert any(name.startswith("P.work/blocks/") for name in found)
    filler.unlink()
    write_pretraining_data(config, block_bytes=5000, text_bytes_per_worker=1)
    assert content(small_disk) == expected


def test_on_a_full_disk_the_script_prints_one_line(folder, small_disk):
    write_corpus(folder / "corpus.txt", random_corpus(6, 200))
    free = os.statvfs(small_disk)
    (small_disk / "filler").write_bytes(bytes(free.f_bavail * free.f_frsize - 20_000))
    output = f"--output_file={small_disk}/P"
    done = run(folder, "corpus.txt", output)
    assert done.returncode == 2
    (line,) = (line for line in done.stderr.splitlines() if not PROGRESS.match(line))
    assert line.startswith(f"error: {output}: the disk is full") and f"or delete {small_disk}/P.work" in line
    (small_disk / "filler").unlink()
    assert run(folder, "corpus.txt", output).returncode == 0
    assert run(folder, "corpus.txt").returncode == 0
    expected = {name: digest for name, digest in content(folder).items() if name.startswith("P")}
    assert content(small_disk) == expected != {}


class FullDisk:
    """Context manager: from the change of number `last` on, the file system takes nothing more."""

    def __init__(self, last: int):
        self.changes, self._last, self._patch = 0, last, pytest.MonkeyPatch()

    def __enter__(self) -> "FullDisk":
        for name in ("replace", "mkdir", "fsync"):
            self._patch.setattr(os, name, self._counted(getattr(os, name)))
        really_open, counted_open = builtins.open, self._counted(builtins.open)

        def open_(file, mode="r", *arguments, **options):
            return (really_open if set(mode) <= set("rbt") else counted_open)(file, mode, *arguments, **options)

        self._patch.setattr(builtins, "open", open_)
        return self

    def __exit__(self, *_: object) -> None:
        self._patch.undo()

    def _counted(self, change):
        def counted(*arguments, **options):
            self.changes += 1
            if self.changes >= self._last:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return change(*arguments, **options)

        return counted


def test_whatever_does_not_fit_any_more_the_run_stops_in_one_line_and_goes_on_later(folder):
    write_corpus(folder / "corpus.txt", random_corpus(6, 10))

    def write(name: str) -> dict[str, str]:
        config = config_for(folder, output_file=str(folder / name / "P"), num_shards=2)
        write_pretraining_data(config, block_bytes=1000)
        return content(folder / name)

    with FullDisk(10**9) as disk:
        expected = write("expected")
    assert disk.changes > 20
    for last in range(1, disk.changes + 1):
        name = str(last)
        with FullDisk(last), pytest.raises(InputError, match="the disk is full"):
            write(name)
        found = content(folder / name)
        assert "P.manifest.json" not in found and not any("-of-" in file and "/" in file for file in found)
        assert {file: digest for file, digest in found.items() if "-of-" in file}.items() <= expected.items()
        assert write(name) == expected, name
