"""A worker that has made other runs before makes the same weights as a new process."""

import json
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pipeline
import pytest

from benchmarks.worker_pool import Worker


@pytest.fixture
def worker():
    worker = Worker(threads=1, environment={"CUDA_VISIBLE_DEVICES": "-1"})
    yield worker
    worker.close()


def outcome_of(worker, script, config, log):
    worker.start(script, tuple(pipeline.flags_of(config)), str(log))
    while (outcome := worker.poll()) is None:
        time.sleep(0.05)
    return outcome


def start_by_hand(script, config):
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_NUM_INTRAOP_THREADS": "1"}
    command = [sys.executable, script, *pipeline.flags_of(config)]
    return subprocess.Popen(
        command, cwd=pipeline.ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def assert_same(one, other):
    found, expected = pipeline.arrays(one), pipeline.arrays(other)
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


@pytest.mark.slow
def test_a_used_worker_makes_the_weights_of_a_new_process(worker, tmp_path, tmp_path_factory):
    built = pipeline.build(tmp_path_factory)
    changes = {"num_train_epochs": 2.0, "random_seed": 5, "do_predict": True, "predict_file": f"{built.data}/test.tsv"}
    taught = {"teacher_dir": built.classifier, "unlabelled_file": f"{built.folder}/corpus.txt"}
    alone = [
        start_by_hand("run_classifier.py", pipeline.classification(built, tmp_path / "alone", **changes, **taught)),
        start_by_hand("run_distill.py", pipeline.distillation(built, tmp_path / "student_alone")),
    ]

    # First other runs: another model and seed, a distillation, and one that fails with its model half built.
    other = pipeline.classification(built, tmp_path / "other", init_checkpoint=built.teacher, random_seed=9)
    assert outcome_of(worker, "run_classifier.py", other, tmp_path / "other.log").status == "done"
    distilled = outcome_of(
        worker, "run_distill.py", pipeline.distillation(built, tmp_path / "student"), tmp_path / "student.log"
    )
    assert distilled.status == "done" and distilled.seconds > 0 and distilled.cpu_seconds > 0
    shutil.copytree(built.student, tmp_path / "damaged")
    os.truncate(tmp_path / "damaged" / "model.weights.h5", 5000)
    wrong = pipeline.classification(built, tmp_path / "wrong", init_checkpoint=tmp_path / "damaged")
    assert outcome_of(worker, "run_classifier.py", wrong, tmp_path / "wrong.log").status == "failed"
    assert (
        (tmp_path / "wrong.log")
        .read_text()
        .splitlines()[-1]
        .startswith(f"error: {tmp_path}/damaged/model.weights.h5: ")
    )

    reused = pipeline.classification(built, tmp_path / "reused", **changes, **taught)
    assert outcome_of(worker, "run_classifier.py", reused, tmp_path / "reused.log").status == "done"
    assert [process.wait() for process in alone] == [0, 0]
    assert_same(tmp_path / "reused" / "classifier.weights.h5", tmp_path / "alone" / "classifier.weights.h5")
    assert_same(tmp_path / "student" / "model.weights.h5", tmp_path / "student_alone" / "model.weights.h5")
    predictions = [(tmp_path / name / "predictions.tsv").read_text() for name in ("reused", "alone")]
    assert predictions[0] == predictions[1]
    log = (tmp_path / "reused.log").read_text()
    assert "classifying" in log and "distilling" not in log and str(tmp_path / "other") not in log
    argv = json.loads((tmp_path / "reused" / "run.json").read_text())["argv"]
    assert argv == ["run_classifier.py", *pipeline.flags_of(reused)]


@pytest.mark.slow
def test_a_run_killed_in_a_used_worker_goes_on_in_another(tmp_path, tmp_path_factory):
    built = pipeline.build(tmp_path_factory)
    changes = {"num_train_epochs": 20.0, "save_checkpoints_steps": 2}
    whole = pipeline.classification(built, tmp_path / "whole", **changes)
    assert start_by_hand("run_classifier.py", whole).wait() == 0
    first, second = (Worker(threads=1, environment={"CUDA_VISIBLE_DEVICES": "-1"}) for _ in range(2))
    warm = pipeline.classification(built, tmp_path / "warm", num_train_epochs=1.0)
    assert outcome_of(first, "run_classifier.py", warm, tmp_path / "warm.log").status == "done"
    killed = pipeline.classification(built, tmp_path / "killed", **changes)
    first.start("run_classifier.py", tuple(pipeline.flags_of(killed)), str(tmp_path / "killed.log"))
    while not (tmp_path / "killed" / "checkpoints" / "checkpoint").exists():  # names the newest one
        assert first.poll() is None
        time.sleep(0.05)
    first.kill()
    outcome = first.finish()
    assert outcome.status == "failed" and "killed by signal 9" in (tmp_path / "killed.log").read_text()
    assert outcome_of(second, "run_classifier.py", killed, tmp_path / "again.log").status == "done"
    second.close()
    assert "resuming classifying after update" in (tmp_path / "again.log").read_text()
    assert_same(tmp_path / "killed" / "classifier.weights.h5", tmp_path / "whole" / "classifier.weights.h5")
