"""Bad input, as a user meets it: one line that names what is wrong, exit status 2, nothing half-written.

What a script prints is tested in a few subprocesses; that each stage refuses each fault, in this process.
"""

import os
import shutil
import subprocess
import sys

import pipeline
import pytest
from data.record_oracles import CHARACTERS, config_for, random_corpus, write_corpus

from chemkd_tf.data.shards import write_pretraining_data
from chemkd_tf.errors import InputError
from chemkd_tf.stages import classify, distill, pretrain
from chemkd_tf.text.vocabulary import save_vocabulary, vocabulary_of


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return pipeline.build(tmp_path_factory)


def run(script: str, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, os.path.join(pipeline.ROOT, script), *arguments],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
        capture_output=True,
        text=True,
    )


def refused_in_one_line(done: subprocess.CompletedProcess) -> str:
    """Checks the form of a refusal; returns the line without its beginning."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    return line.removeprefix("error: ")


# --- The scripts ---


def test_a_missing_file_is_one_line_and_leaves_nothing(built, tmp_path):
    output_dir = tmp_path / "run"
    done = run(
        "run_pretraining.py",
        f"--input_file={tmp_path}/nowhere",
        f"--vocab_file={built.vocabulary}",
        f"--output_dir={output_dir}",
    )
    assert refused_in_one_line(done).startswith(f"--input_file: no records at '{tmp_path}/nowhere'")
    assert os.listdir(tmp_path) == []


def test_a_layer_beyond_the_teacher_is_one_line_and_leaves_nothing(built, tmp_path):
    done = run(
        "run_distill.py",
        f"--input_file={built.records}",
        f"--teacher_dir={built.teacher}",
        f"--output_dir={tmp_path / 'run'}",
        "--num_student_layers=1",
        "--layer_map=2",
        "--student_width=24",
    )
    line = refused_in_one_line(done)
    assert line.startswith("--layer_map=2: teacher layer 2 doesn't exist; ")
    assert line.endswith("the teacher has layers 1 to 1")
    assert os.listdir(tmp_path) == []


def test_a_label_unseen_in_training_is_one_line_with_file_and_line(built, tmp_path):
    data = pipeline.write_labelled(tmp_path / "data", train=3, dev=3)
    pipeline.write_tsv(tmp_path / "data" / "dev.tsv", [("酸", "安全"), ("碱", "财务")])
    done = run(
        "run_classifier.py",
        "--do_train",
        f"--data_dir={data}",
        f"--init_checkpoint={built.student}",
        f"--output_dir={tmp_path / 'run'}",
    )
    line = refused_in_one_line(done)
    assert line.startswith(
        f"{data}/dev.tsv, line 2: label '财务' does not occur in the training set (安全, 环保, 设备)"
    )
    assert not (tmp_path / "run" / "classifier.json").exists()


def test_other_settings_than_the_run_began_with_are_one_line(built):
    before = {name: os.path.getmtime(f"{built.teacher}/{name}") for name in os.listdir(built.teacher)}
    done = run(
        "run_pretraining.py",
        f"--input_file={built.records}",
        f"--vocab_file={built.vocabulary}",
        f"--output_dir={built.teacher}",
        "--num_layers=1",
        "--hidden_size=24",
        "--num_attention_heads=2",
        "--intermediate_size=32",
        "--max_position_embeddings=32",
        "--train_batch_size=5",
    )
    line = refused_in_one_line(done)
    assert line.startswith(f"{built.teacher}/config.json: this run began with --train_batch_size=4, now it is 5")
    assert {name: os.path.getmtime(f"{built.teacher}/{name}") for name in os.listdir(built.teacher)} == before


@pytest.mark.parametrize("script", ["run_classifier.py", "data_prep/build_vocab.py"])
def test_an_unknown_flag_is_named_and_fails(script):
    done = run(script, "--lerning_rate=1")
    assert done.returncode not in (0, None)
    assert "Unknown command line flag 'lerning_rate'" in done.stderr
    assert "Traceback" not in done.stderr


# --- The corpus and the vocabulary ---


@pytest.fixture
def corpus(tmp_path):
    """A folder with a corpus and a vocabulary that fit."""
    write_corpus(tmp_path / "corpus.txt", random_corpus(1, 3))
    save_vocabulary(vocabulary_of(CHARACTERS), str(tmp_path / "vocab.txt"))
    return tmp_path


def assert_records_are_refused(corpus, message: str) -> None:
    before = sorted(os.listdir(corpus))
    with pytest.raises(InputError, match=message):
        write_pretraining_data(config_for(corpus))
    assert sorted(os.listdir(corpus)) == before


@pytest.mark.parametrize("content", ["", "\n\n", " \t\n\u3000\n"])
def test_an_empty_corpus_makes_no_records(corpus, content):
    (corpus / "corpus.txt").write_text(content, encoding="utf-8")
    assert_records_are_refused(corpus, "--input_file: no text in .*corpus.txt: expected one sentence a line")


def test_a_corpus_that_is_not_utf8_is_named_with_its_line(corpus):
    with open(corpus / "corpus.txt", "ab") as file:
        lines = (corpus / "corpus.txt").read_bytes().count(b"\n")
        file.write("酸".encode("gb18030") + b"\n")
    assert_records_are_refused(corpus, f"corpus.txt:{lines + 1}: not UTF-8")


def test_a_missing_corpus_is_named(corpus):
    (corpus / "corpus.txt").unlink()
    assert_records_are_refused(corpus, "no file matches '.*corpus.txt'")


def test_a_vocabulary_without_mask_is_refused(corpus):
    entries = (corpus / "vocab.txt").read_text(encoding="utf-8")
    (corpus / "vocab.txt").write_text(entries.replace("[MASK]\n", ""), encoding="utf-8")
    assert_records_are_refused(corpus, r"vocab.txt: no \[MASK\] among its \d+ entries")


# --- The three stages ---


def other_vocabulary(built, folder) -> tuple[str, str]:
    """Records and a vocabulary whose ids mean something else."""
    vocabulary = str(folder / "other.txt")
    save_vocabulary(vocabulary_of(CHARACTERS[::-1]), vocabulary)
    corpus, records = str(built.folder / "corpus.txt"), str(folder / "other" / "P")
    write_pretraining_data(
        config_for(
            folder, input_file=corpus, vocab_file=vocabulary, output_file=records, max_seq_length=pipeline.TOKENS
        )
    )
    return records, vocabulary


def test_records_of_another_vocabulary_are_refused_by_pretraining_and_distillation(built, tmp_path):
    records, vocabulary = other_vocabulary(built, tmp_path)
    output_dir = tmp_path / "run"
    for flag in ("input_file", "eval_input_file"):
        message = f"--{flag}: .*/P-00000-of-00001 was made with another vocabulary than "
        with pytest.raises(InputError, match=message + ".*vocab.txt"):
            pretrain.train_and_evaluate(pipeline.pretraining(built, output_dir, **{flag: records}))
        with pytest.raises(InputError, match=message + f"{built.teacher}/vocab.txt"):
            distill.train_and_evaluate(pipeline.distillation(built, output_dir, **{flag: records}))
    with pytest.raises(InputError, match="--input_file: .* was made with another vocabulary than .*other.txt"):
        pretrain.train_and_evaluate(pipeline.pretraining(built, output_dir, vocab_file=vocabulary))
    assert not output_dir.exists()


def test_a_student_is_no_teacher(built, tmp_path):
    with pytest.raises(InputError, match="--teacher_dir=.*student: holds a student, not a teacher"):
        distill.train_and_evaluate(pipeline.distillation(built, tmp_path / "run", teacher_dir=built.student))
    assert not (tmp_path / "run").exists()


def test_a_layer_map_longer_than_the_student_is_refused(built, tmp_path):
    with pytest.raises(InputError, match="--layer_map=1,1 names 2 teacher layers, .* --num_student_layers=1"):
        pipeline.distillation(built, tmp_path / "run", layer_map=(1, 1))


def test_records_longer_than_the_teacher_takes_are_refused(built, tmp_path):
    with pytest.raises(InputError, match="the shape flags: at most 20 positions, but the records have 24 tokens"):
        pretrain.train_and_evaluate(pipeline.pretraining(built, tmp_path / "run", max_position_embeddings=20))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["architecture.json", "model.weights.h5", "vocab.txt"])
def test_a_teacher_that_lacks_a_file_is_refused(built, tmp_path, name):
    teacher = tmp_path / "teacher"
    shutil.copytree(built.teacher, teacher, ignore=shutil.ignore_patterns(name, "checkpoints", "tensorboard"))
    with pytest.raises(InputError, match=name):
        distill.train_and_evaluate(pipeline.distillation(built, tmp_path / "run", teacher_dir=str(teacher)))
    assert os.listdir(tmp_path) == ["teacher"]


@pytest.mark.parametrize(
    ("name", "content"),
    [("architecture.json", "{}"), ("architecture.json", "not JSON"), ("model.weights.h5", "not HDF5")],
)
def test_a_teacher_with_a_damaged_file_is_refused(built, tmp_path, name, content):
    teacher = tmp_path / "teacher"
    shutil.copytree(built.teacher, teacher, ignore=shutil.ignore_patterns("checkpoints", "tensorboard"))
    (teacher / name).write_text(content)
    with pytest.raises(InputError, match=f"{teacher}/{name}: ") as refused:
        distill.train_and_evaluate(pipeline.distillation(built, tmp_path / "run", teacher_dir=str(teacher)))
    assert "\n" not in str(refused.value)
    assert os.listdir(tmp_path) == ["teacher"]


def test_an_output_folder_of_another_stage_is_refused(built):
    with pytest.raises(InputError, match="config.json belongs to a run of 'pretrain': choose another --output_dir"):
        distill.train_and_evaluate(pipeline.distillation(built, built.teacher))
    with pytest.raises(InputError, match="config.json belongs to a run of 'distill': choose another --output_dir"):
        classify.run(pipeline.classification(built, built.student))


def test_an_unfinished_run_is_no_checkpoint(built, tmp_path):
    folder = tmp_path / "unfinished"
    shutil.copytree(built.student, folder, ignore=shutil.ignore_patterns("*.h5", "checkpoints", "tensorboard"))
    with pytest.raises(InputError, match="model.weights.h5: no such file; the run that should have written it did not"):
        classify.run(pipeline.classification(built, tmp_path / "run", init_checkpoint=str(folder)))
