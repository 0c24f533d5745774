"""The two scripts as a user runs them."""

import os
import subprocess
import sys

import pytest
from data.record_oracles import config_for, random_corpus, write_corpus, write_vocabulary

from chemkd_tf.data.manifest import read_manifest
from chemkd_tf.data.shards import write_pretraining_data
from chemkd_tf.errors import InputError
from chemkd_tf.text.vocabulary import load_vocabulary

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def run(script: str, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, os.path.join("data_prep", script), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_from_raw_text_to_records(tmp_path):
    write_corpus(tmp_path / "corpus.txt", random_corpus(1, 5))
    corpus, vocab, prefix = (str(tmp_path / name) for name in ("corpus.txt", "vocab.txt", "out/P"))
    built = run("build_vocab.py", f"--input_file={corpus}", f"--output_file={vocab}", "--vocab_size=200")
    assert built.returncode == 0, built.stderr
    assert f"entries in {vocab}" in built.stdout
    made = run(
        "create_pretraining_data.py",
        f"--input_file={corpus}",
        f"--vocab_file={vocab}",
        f"--output_file={prefix}",
        "--max_seq_length=32",
        "--dupe_factor=2",
    )
    assert made.returncode == 0, made.stderr
    manifest = read_manifest(prefix)
    assert manifest.format.vocabulary_sha256 == load_vocabulary(vocab).sha256
    assert manifest.num_samples == 2 * sum(map(len, random_corpus(1, 5)))
    assert f"{manifest.num_samples} samples" in made.stdout and "MB/s" in made.stderr


def test_bad_input_is_one_line_and_status_2(tmp_path):
    write_vocabulary(tmp_path)
    (tmp_path / "corpus.txt").write_bytes("酸\n".encode() + b"\xff\n")
    done = run(
        "create_pretraining_data.py",
        f"--input_file={tmp_path}/corpus.txt",
        f"--vocab_file={tmp_path}/vocab.txt",
        f"--output_file={tmp_path}/P",
    )
    assert done.returncode == 2 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {tmp_path}/corpus.txt:2: not UTF-8")
    assert not (tmp_path / "P.manifest.json").exists()


def test_every_kind_of_bad_input_is_named(tmp_path):
    write_vocabulary(tmp_path)
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("酸\n", encoding="utf-8")
    with pytest.raises(InputError, match="nowhere"):
        write_pretraining_data(config_for(tmp_path, input_file=str(tmp_path / "nowhere*")))
    with pytest.raises(InputError, match="nowhere"):
        write_pretraining_data(config_for(tmp_path, vocab_file=str(tmp_path / "nowhere")))
    corpus.write_text("\n", encoding="utf-8")
    with pytest.raises(InputError, match="no text"):
        write_pretraining_data(config_for(tmp_path))
    corpus.write_text("酸\n", encoding="utf-8")
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n酸\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"no \[MASK\]"):
        write_pretraining_data(config_for(tmp_path))
    assert sorted(os.listdir(tmp_path)) == ["corpus.txt", "vocab.txt"]
