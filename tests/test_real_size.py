"""The paper's own sizes from the command line: a teacher of 6 x 768 and a student of 3 x 200, 128 tokens."""

import os
import subprocess
import sys

import pipeline
import pytest
from data.record_oracles import CHARACTERS, config_for, random_corpus, write_corpus

from chemkd_tf.data.shards import write_pretraining_data
from chemkd_tf.text.vocabulary import save_vocabulary, vocabulary_of

pytestmark = pytest.mark.slow

VOCABULARY_SIZE = 21_128
STEPS = 20
LIMIT = 1800  # seconds


def run(script: str, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, script, "--train_batch_size=2", f"--num_train_steps={STEPS}", "--num_warmup_steps=5",
         "--log_every_steps=1", *arguments],
        cwd=pipeline.ROOT,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]


def number_of_weights(folder) -> int:
    return sum(array.size for array in pipeline.arrays(folder / "model.weights.h5").values())


def test_the_paper_s_sizes_run_from_the_command_line(tmp_path):
    entries = [*CHARACTERS, *(chr(0x4E00 + number) for number in range(21_000))]
    entries = [*dict.fromkeys(entries), *(f"##{number}" for number in range(1000))][: VOCABULARY_SIZE - 5]
    save_vocabulary(vocabulary_of(entries), str(tmp_path / "vocab.txt"))
    write_corpus(tmp_path / "corpus.txt", random_corpus(1, 20, longest=150))
    manifest = write_pretraining_data(
        config_for(tmp_path, dupe_factor=1, max_seq_length=128, max_predictions_per_seq=20)
    )
    assert manifest.num_samples >= STEPS

    records = f"--input_file={tmp_path / 'P'}"
    teacher, student = tmp_path / "teacher", tmp_path / "student"
    run("run_pretraining.py", records, f"--vocab_file={tmp_path / 'vocab.txt'}", f"--output_dir={teacher}")
    run("run_distill.py", records, f"--teacher_dir={teacher}", f"--output_dir={student}")

    width, inner = 768, 3072
    layer = 4 * (width * width + width) + 2 * 2 * width + 2 * width * inner + inner + width
    embeddings = (VOCABULARY_SIZE + 512 + 2) * width + 2 * width
    head = width * width + width + 2 * width + VOCABULARY_SIZE
    assert number_of_weights(teacher) == embeddings + 6 * layer + head
    # The paper's student without heads, and its masked-LM head: a dense layer, LayerNorm, a bias for each entry.
    assert number_of_weights(student) == 4_974_000 + (200 * 200 + 200) + 2 * 200 + VOCABULARY_SIZE
