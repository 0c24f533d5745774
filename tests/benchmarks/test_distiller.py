"""The benchmark of distillation: all sides compute one loss, and the figures follow from what was measured."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tiny

from benchmarks import distiller
from benchmarks.distiller_update import trimmed
from benchmarks.sides import Side
from chemkd_tf.data.padding import trim_padding

ROOT = Path(__file__).resolve().parents[2]
SHAPE = ("--vocab_size=50", "--num_layers=3", "--hidden_size=64", "--student_width=10", "--layer_map=1,3")


def run(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "benchmarks.distiller", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def answers(**seconds: list[float]) -> dict[str, list[dict]]:
    """Two rounds that don't count before those given."""
    return {
        name: [
            {"seconds": value, "cpu_seconds": 1.0, "loss": 3.0, "tokens": 8, "peak_memory_bytes": 9}
            for value in (99.0, 98.0, *values)
        ]
        for name, values in seconds.items()
    }


def test_a_ratio_is_the_median_of_the_rounds():
    found = distiller.figures(answers(ours=[1.0, 2.0, 4.0], textbrewer=[3.0, 3.0, 4.0]))
    assert found["textbrewer"]["steps_per_second_ratio"] == 1.5  # of 3, 1.5 and 1
    assert found["ours"]["steps_per_second"] == 0.5 and "steps_per_second_ratio" not in found["ours"]


def test_sides_that_begin_with_other_losses_end_the_benchmark(monkeypatch):
    monkeypatch.setattr(distiller, "FLAGS", type("Flags", (), {"precision": "float32"}))
    right = {"ours": 10.0, "keras_same_terms": 7.0, "textbrewer": 10.001, "keras_as_documented": 2.0}
    distiller.require_equal_losses(right, {"teacher_entropy": 3.0})
    for name in ("keras_same_terms", "textbrewer"):
        with pytest.raises(SystemExit, match=f"{name} begins with a loss of"):
            distiller.require_equal_losses({**right, name: right[name] + 0.5}, {"teacher_entropy": 3.0})


def test_batches_are_trimmed_as_ours_are():
    batch = tiny.pad(tiny.batch(), tokens=3, predictions=2)
    batch["padding_mask"][:, tiny.TOKENS :] = 0
    expected = trim_padding({name: tf.constant(array) for name, array in batch.items()})
    found = trimmed(batch)
    assert found["token_ids"].shape[1] < batch["token_ids"].shape[1]
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@pytest.mark.parametrize(
    ("source", "said"), [("", r"\(empty\)"), ("/nowhere", "/nowhere")], ids=["not given", "of something else"]
)
def test_a_source_without_textbrewer_is_one_line_that_says_what_to_do(source, said):
    done = run(f"--textbrewer_source={source}")
    assert done.returncode == 1 and not done.stdout
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith(
        f"error: --textbrewer_source={source or '(empty)'}: no textbrewer/distiller_general.py in it"
    )
    assert "github.com/airaria/TextBrewer" in line


@pytest.mark.slow
def test_keras_given_our_terms_computes_our_loss(tmp_path):
    """Two updates; the second loss differs by the optimizers' constants alone."""
    batch = tiny.batch()
    batch["padding_mask"][:], batch["mask_weights"][:] = 1, 1.0  # keras.distillation knows neither of the two
    np.savez(tmp_path / "full.npz", **batch)
    started, losses = {}, {}
    for name in ("ours", "keras_same_terms"):
        arguments = (f"--side={name}", f"--folder={tmp_path}", *SHAPE)
        started[name] = Side(sys.executable, "benchmarks.distiller_update", *arguments, remedy="")
        losses[name] = [started[name].update("full")["loss"] for _ in range(2)]
        started[name].close()
    entropy = started["ours"].ready["teacher_entropy"]
    assert 0.5 * math.log(50) < entropy < math.log(50)
    assert losses["keras_same_terms"][0] + entropy == pytest.approx(losses["ours"][0], rel=1e-4)
    assert losses["ours"][1] != losses["ours"][0]


@pytest.mark.slow
def test_the_last_line_is_the_ratios(tmp_path):
    arguments = ("--sides=keras_as_documented,keras_same_terms", "--train_batch_size=4", "--num_updates=2")
    done = run(*SHAPE, *arguments, f"--output_file={tmp_path}/figures.json")
    assert done.returncode == 0, done.stderr[-2000:]
    last = json.loads(done.stdout.splitlines()[-1])
    names = ("keras_as_documented", "keras_same_terms")
    assert list(last) == [f"steps_per_second_ratio_{name}" for name in names]
    figures = json.loads((tmp_path / "figures.json").read_text())
    found = figures["full_rows"]
    for name in names:
        assert figures[f"steps_per_second_ratio_{name}"] == last[f"steps_per_second_ratio_{name}"]
        ratios = [theirs / own for theirs, own in zip(found[name]["seconds"], found["ours"]["seconds"], strict=True)]
        assert found[name]["steps_per_second_ratio"] == pytest.approx(np.median(ratios), rel=2e-2)
    assert found["ours"]["mean_tokens"] == 4 * 128 and str(tmp_path) not in figures["command"]
    assert distiller.table(figures) in done.stdout
