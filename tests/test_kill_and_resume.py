"""kill -9 in the middle of a script, then the same command again: the result of a run that was left alone."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pipeline
import pytest

pytestmark = pytest.mark.slow

STEPS = 40
LIMIT = 300  # seconds
COMMON = [
    "--random_seed=5", "--train_batch_size=4", "--eval_batch_size=8", "--save_checkpoints_steps=5",
    "--log_every_steps=1",
]  # fmt: skip
STUDENT = ["--num_student_layers=1", "--layer_map=1", "--student_width=24"]
TEACHER = [
    "--num_layers=1", "--hidden_size=24", "--num_attention_heads=2", "--intermediate_size=32",
    "--max_position_embeddings=32", "--hidden_dropout_prob=0.2",
]  # fmt: skip
BY_STEPS = [f"--num_train_steps={STEPS}", "--num_warmup_steps=5", "--eval_every_steps=10", "--max_eval_steps=2"]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return pipeline.build(tmp_path_factory)


def command(built, stage: str) -> tuple[list[str], str]:
    """The command line of a stage without --output_dir, and the weights it writes."""
    records = [f"--input_file={built.records}", f"--eval_input_file={built.records}"]
    if stage == "pretraining":
        return [
            "run_pretraining.py",
            *records,
            f"--vocab_file={built.vocabulary}",
            *TEACHER,
            *BY_STEPS,
        ], "model.weights.h5"
    if "task" not in stage and "distillation" in stage:
        arguments = ["run_distill.py", *records, f"--teacher_dir={built.teacher}", *STUDENT, *BY_STEPS]
        # Phases that end after 4, 24, 29, 35 and 40 updates: the kill comes in the second one.
        return arguments + ["--schedule=gradual_unfreezing"] * (stage == "staged distillation"), "model.weights.h5"
    arguments = [
        "run_classifier.py", "--do_train", f"--data_dir={built.data}", f"--init_checkpoint={built.teacher}",
        f"--max_seq_length={pipeline.TOKENS}", "--classifier_dropout=0.3", f"--num_train_epochs={STEPS / 6}",
        "--token_mask_prob=0.2", "--sentence_drop_prob=0.2", "--shuffle_sentences",
    ]  # fmt: skip
    if stage == "task distillation":  # any classifier of the same labels can teach
        arguments += [f"--teacher_dir={built.classifier}", f"--unlabelled_file={built.folder}/corpus.txt",
                      "--unlabelled_batch_size=6"]  # fmt: skip
    return arguments, "classifier.weights.h5"  # 24 texts in batches of 4: 6 steps an epoch


def start(arguments: list[str], output_dir) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, arguments[0], *COMMON, *arguments[1:], f"--output_dir={output_dir}"],
        cwd=pipeline.ROOT,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen) -> str:
    stdout, stderr = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, stderr[-2000:]
    return stdout


def metrics_lines(output_dir) -> list[dict]:
    with open(output_dir / "metrics.jsonl", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def newest_checkpoint(output_dir) -> int:
    """Updates that the newest complete checkpoint was made after; 0 without one."""
    return max((int(path.stem.split("-")[1]) for path in (output_dir / "checkpoints").glob("ckpt-*.index")), default=0)


def kill_after(process: subprocess.Popen, output_dir, step: int) -> None:
    """Kills the process as soon as there is a checkpoint of `step` updates or more."""
    wait_for_checkpoint(process, output_dir, step)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def wait_for_checkpoint(process: subprocess.Popen, output_dir, step: int) -> None:
    """Waits until there is a checkpoint of `step` updates or more."""
    until = time.monotonic() + LIMIT
    while process.poll() is None and time.monotonic() < until:
        if newest_checkpoint(output_dir) >= step:
            break
        time.sleep(0.001)


def assert_same_weights(found_file, expected_file) -> None:
    expected, found = pipeline.arrays(expected_file), pipeline.arrays(found_file)
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    "stage", ["pretraining", "distillation", "staged distillation", "classification", "task distillation"]
)
def test_a_killed_run_started_again_ends_where_an_undisturbed_one_ends(built, tmp_path, stage):
    arguments, weights = command(built, stage)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(start(arguments, whole))
    kill_after(start(arguments, killed), killed, 10)
    is_encoder = weights == "model.weights.h5"
    if is_encoder:  # a classifier's run writes the best weights so far
        assert not (killed / weights).exists()
    at_kill = (killed / "metrics.jsonl").read_text(encoding="utf-8")
    assert '"step": 10,' in at_kill and f'"step": {STEPS},' not in at_kill

    shown = finish(start(arguments, killed))
    assert "resuming" in shown and "after update" in shown
    assert_same_weights(killed / weights, whole / weights)

    if is_encoder:
        assert_same_weights(killed / "best" / weights, whole / "best" / weights)

    curves = [metrics_lines(folder) for folder in (whole, killed)]
    steps = [line["step"] for line in curves[1] if line["split"] == "train"]
    assert steps == list(range(1, STEPS + 1))
    assert [(line["step"], line["split"]) for line in curves[1]] == [
        (line["step"], line["split"]) for line in curves[0]
    ]
    for one, other in zip(*curves, strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-4)
    assert sorted(path.name for path in (killed / "checkpoints").glob("*.index")) == ["ckpt-35.index", "ckpt-40.index"]


def test_ten_kills_at_random_moments_change_nothing(built, tmp_path):
    """In a pretraining whose batches have a budget of tokens and whose updates are made of micro-batches."""
    arguments, weights = command(built, "pretraining")
    arguments = [*arguments, "--gradient_accumulation_steps=2", f"--train_batch_tokens={4 * pipeline.TOKENS}",
                 "--num_train_steps=400", "--save_checkpoints_steps=15"]  # fmt: skip
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(start(arguments, whole))
    rng = random.Random(11)
    for _ in range(10):
        process = start(arguments, killed)
        # Most kills hit an update, an evaluation, a checkpoint or what follows one; some hit the start.
        wait_for_checkpoint(process, killed, newest_checkpoint(killed) + 1 if rng.random() < 0.8 else 0)
        time.sleep(rng.random() * 0.3)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, "the run was over before it could be killed"
    assert not (killed / weights).exists()
    assert newest_checkpoint(killed) >= 5 * 15
    finish(start(arguments, killed))
    assert_same_weights(killed / weights, whole / weights)
    assert_same_weights(killed / "best" / weights, whole / "best" / weights)
    steps = [[line["step"] for line in metrics_lines(folder)] for folder in (whole, killed)]
    assert steps[0] == steps[1]


@pytest.mark.parametrize("stage", ["pretraining", "classification"])
def test_sigterm_is_one_line_status_143_and_a_checkpoint(built, tmp_path, stage):
    arguments, weights = command(built, stage)
    output_dir = tmp_path / "run"
    process = start(arguments, output_dir)
    wait_for_checkpoint(process, output_dir, 10)
    process.terminate()
    _, stderr = process.communicate(timeout=LIMIT)
    assert process.returncode == 143, stderr[-2000:]
    assert "Traceback" not in stderr
    step = int(re.fullmatch(
        r"stopped by SIGTERM after update (\d+); its checkpoint is saved: the same command goes on",
        stderr.splitlines()[-1],
    )[1])  # fmt: skip
    assert (output_dir / "checkpoints" / f"ckpt-{step}.index").exists()
    if stage == "pretraining":  # a classifier's run writes the best weights so far
        assert not (output_dir / weights).exists()
    assert f" after update {step}\n" in finish(start(arguments, output_dir))
    assert (output_dir / weights).exists()


def test_a_truncated_checkpoint_is_one_line_not_a_trace(built, tmp_path):
    arguments, _ = command(built, "pretraining")
    output_dir = tmp_path / "run"
    kill_after(start(arguments, output_dir), output_dir, 10)
    newest = (output_dir / "checkpoints" / "checkpoint").read_text().split('"')[1]
    data = output_dir / "checkpoints" / f"{newest}.data-00000-of-00001"
    os.truncate(data, data.stat().st_size // 2)
    process = start(arguments, output_dir)
    stdout, stderr = process.communicate(timeout=LIMIT)
    assert process.returncode == 2
    assert "Traceback" not in stderr
    (line,) = stderr.splitlines()
    assert line.startswith(f"error: {output_dir}/checkpoints/{newest}: can't be restored (")
    assert line.endswith("delete its folder to begin again, or choose another --output_dir")
