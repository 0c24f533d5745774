"""The comparison on a labelled task: splits that share no text, scores as scikit-learn's, runs that go on."""

import collections
import json
import os
import subprocess
import sys

import numpy as np
import pipeline
import pytest
import sklearn.metrics

from benchmarks import tasks
from benchmarks.splits import make_splits

TRAIN = ([f"甲{number}" for number in range(90)], (["安全"] * 6 + ["环保"] * 3) * 10)
DEV = ([f"乙{number}" for number in range(18)], (["安全"] * 6 + ["环保"] * 3) * 2)


def texts_of(split):
    return {name: set(part[0]) for name, part in split.items()}


def test_folds_report_every_text_once_and_nothing_is_in_two_parts():
    splits = make_splits(TRAIN, DEV, num_folds=3, num_train=0)
    reported = [text for split in splits for text in split["test"][0]]
    assert sorted(reported) == sorted([*TRAIN[0], *DEV[0]])
    label = dict(zip([*TRAIN[0], *DEV[0]], [*TRAIN[1], *DEV[1]], strict=True))
    for split in splits:
        parts = texts_of(split)
        assert sum(len(part) for part in parts.values()) == 108 == len(set().union(*parts.values()))
        assert split.pop("rest") == ([], [])  # every label is taken
        for texts, labels in split.values():
            assert [label[text] for text in texts] == list(labels)
            shares = collections.Counter(labels)
            assert shares["安全"] / len(labels) == pytest.approx(2 / 3, abs=0.1)


def test_without_folds_dev_is_reported_and_training_texts_are_sampled():
    (split,) = make_splits(TRAIN, DEV, num_folds=0, num_train=30)
    assert split["test"] == DEV
    parts = texts_of(split)
    assert len(parts["train"]) == 27 and len(parts["dev"]) == 3
    assert parts["train"] | parts["dev"] < set(TRAIN[0]) and not parts["train"] & parts["dev"]
    assert parts["rest"] == set(TRAIN[0]) - parts["train"] - parts["dev"]
    assert texts_of(make_splits(TRAIN, DEV, num_folds=0, num_train=30)[0]) == parts


def test_intervals_hold_the_score_and_differences_are_paired():
    rng = np.random.default_rng(2)
    labels = np.array([("安全", "环保", "设备")[number] for number in rng.integers(0, 3, 400)], object)

    def answers(share_right):
        wrong = np.where(labels == "安全", "环保", "安全").astype(object)
        return np.where(rng.random(400) < share_right, labels, wrong).astype(object)

    good, bad = answers(0.8), answers(0.6)
    results = tasks.summarise(
        labels, {"student_distilled": [good, good], "student_undistilled": [bad], "same": [bad]}, 400
    )
    by_model = {result["model"]: result for result in results}
    for name, answer in (("student_distilled", good), ("student_undistilled", bad)):
        result = by_model[name]
        assert result["macro_f1"] == pytest.approx(sklearn.metrics.f1_score(labels, answer, average="macro"))
        low, high = result["interval"]
        assert low < result["macro_f1"] < high and 0.03 < high - low < 0.15
    against = by_model["student_distilled"]["against_undistilled"]
    assert against["interval"][0] > 0 and against["share_not_better"] == 0
    # The same answers on the same resamples: no difference at all.
    assert by_model["same"]["against_undistilled"] == {"interval": [0, 0], "share_not_better": 1}
    assert "against_undistilled" not in by_model["student_undistilled"]
    assert tasks.table(results).count("\n") == 4


@pytest.mark.slow
def test_the_comparison_runs_from_the_command_line(tmp_path, tmp_path_factory):
    built = pipeline.build(tmp_path_factory)
    output = tmp_path / "task.json"
    command = [
        sys.executable, "-m", "benchmarks.tasks", f"--data_dir={built.data}", f"--teacher_dir={built.teacher}",
        f"--student_dir={built.student}", f"--output_dir={tmp_path}/runs", f"--output_json={output}", "--seed=1",
        "--num_folds=2", f"--unlabelled_file={built.folder}/corpus.txt", "--num_resamples=50",
        f"--classifier_flags=--max_seq_length={pipeline.TOKENS} --train_batch_size=8",
        "--teacher_flags=--num_train_epochs=1", "--student_flags=--num_train_epochs=1",
    ]  # fmt: skip
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    first = subprocess.run(command, cwd=pipeline.ROOT, env=environment, capture_output=True, text=True, check=False)
    assert first.returncode == 0, first.stderr[-2000:]
    found = json.loads(output.read_text(encoding="utf-8"))
    models = [result["model"] for result in found["results"]]
    assert models == [*tasks.NEURAL_MODELS, *tasks.BASELINES]
    assert found["reported_texts"] == 24 + 13
    again = subprocess.run(command, cwd=pipeline.ROOT, env=environment, capture_output=True, text=True, check=False)
    assert "run_classifier.py" in first.stdout and "run_classifier.py" not in again.stdout
    assert json.loads(output.read_text(encoding="utf-8"))["results"] == found["results"]
