"""A run that is killed and started again ends where an undisturbed run ends."""

import json
import math
import os
import signal

import numpy as np
import pytest
import tensorflow as tf
import tiny

from chemkd_tf.errors import Stopped
from chemkd_tf.training.evaluation import Evaluator
from chemkd_tf.training.loop import Schedule, train
from chemkd_tf.training.strategy import make_strategy
from chemkd_tf.workdir import WorkingDirectory

STEPS = 6
BATCHES = [tiny.batch(seed=seed) for seed in range(STEPS)]


class Killed(Exception):
    """What ends the first half."""


def batches_from(first):
    stacked = {name: np.stack([batch[name] for batch in BATCHES]) for name in BATCHES[0]}
    return tf.data.Dataset.from_tensor_slices(stacked).skip(first)


def run(path, after_evaluation, save_every=1):
    """Pretrains a fresh teacher with dropout in `path`; returns it and the number of updates."""
    strategy = make_strategy(1)
    with strategy.scope():
        model = tiny.language_model(num_train_steps=STEPS, num_layers=1, dropout=0.3)
    held_out = tf.data.Dataset.from_tensors(tiny.batch(seed=100))
    workdir = WorkingDirectory(str(path))
    evaluator = Evaluator(model, strategy, held_out)
    schedule = Schedule(STEPS, eval_every_steps=2, save_checkpoints_steps=save_every, log_every_steps=1)
    steps = train("test", model, strategy, batches_from, schedule, workdir, evaluator, after_evaluation)
    return model, steps


def remember(step, metrics, memory):
    memory.setdefault("seen", []).append([step, metrics["loss"]])
    return False


def remember_and_die_at_four(step, metrics, memory):
    remember(step, metrics, memory)
    if step == 4:
        raise Killed
    return False


def updates_of(model):
    return int(model.optimizer.iterations.numpy())


def metrics_lines(path):
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The undisturbed run, and one that died in its fourth update with a checkpoint of the third."""
    folder = tmp_path_factory.mktemp("runs")
    with tiny.unoptimised_graphs():
        whole, whole_steps = run(folder / "whole", remember)
        with pytest.raises(Killed):
            run(folder / "killed", remember_and_die_at_four)
        # What a kill in the middle of a write leaves behind.
        with open(folder / "killed" / "metrics.jsonl", "a") as file:
            file.write('{"step": 4, "split": "tra')
        lines_before = (folder / "killed" / "metrics.jsonl").read_text()
        resumed, resumed_steps = run(folder / "killed", remember)
    return folder, whole, resumed, (whole_steps, resumed_steps), lines_before


def test_a_resumed_run_has_the_weights_of_an_undisturbed_one(runs):
    _, whole, resumed, steps, _ = runs
    assert steps == (STEPS, STEPS)
    assert updates_of(resumed) == updates_of(whole) == STEPS
    for one, other in zip(whole.trainable_variables, resumed.trainable_variables, strict=True):
        np.testing.assert_allclose(other.numpy(), one.numpy(), rtol=0, atol=1e-6, err_msg=one.path)


def test_dropout_and_the_learning_rate_were_at_work(runs):
    _, whole, *_ = runs
    fresh = tiny.language_model(num_layers=1, dropout=0.3)
    batch = tiny.tensors(BATCHES[0])
    moved = [
        np.abs(one.numpy() - other.numpy()).max()
        for one, other in zip(whole.trainable_variables, fresh.trainable_variables, strict=True)
    ]
    assert np.median(moved) > 1e-3
    losses = [fresh.compute_terms(batch, training).losses["masked_lm_loss"][0].numpy() for training in (False, True)]
    assert np.abs(losses[0] - losses[1]).max() > 1e-3


def test_no_point_of_the_curves_is_written_twice(runs):
    folder, *_, before = runs
    assert '"step": 4' in before  # was written before the kill, and had to be written again
    keys = {}
    for name in ("whole", "killed"):
        lines = metrics_lines(folder / name)
        keys[name] = [(line["step"], line["split"]) for line in lines]
        assert len(set(keys[name])) == len(keys[name])
    assert keys["killed"] == keys["whole"]
    assert keys["whole"] == [(1, "train"), (2, "train"), (2, "eval"), (3, "train"), (4, "train"), (4, "eval"),
                             (5, "train"), (6, "train"), (6, "eval")]  # fmt: skip


def test_the_curves_of_both_runs_agree(runs):
    folder = runs[0]
    for one, other in zip(metrics_lines(folder / "whole"), metrics_lines(folder / "killed"), strict=True):
        assert other.keys() == one.keys()
        for name in one.keys() - {"split", "seconds", "examples_per_second", "tokens_per_second", "peak_memory_bytes"}:
            assert other[name] == pytest.approx(one[name], rel=1e-4, abs=1e-9), name


def test_a_finished_run_has_nothing_left_to_do(runs):
    folder, whole, *_ = runs
    lines = metrics_lines(folder / "whole")
    again, steps = run(folder / "whole", lambda *_: pytest.fail("evaluated again"))
    assert steps == STEPS
    assert metrics_lines(folder / "whole") == lines
    for one, other in zip(whole.trainable_variables, again.trainable_variables, strict=True):
        np.testing.assert_array_equal(other.numpy(), one.numpy())


def test_a_run_that_an_evaluation_stopped_stays_stopped(tmp_path):
    seen = []

    def stop_at_two(step, metrics, memory):
        seen.append(step)
        return step == 2

    with tiny.unoptimised_graphs():
        model, steps = run(tmp_path, stop_at_two, save_every=100)
    assert (steps, seen, updates_of(model)) == (2, [2], 2)
    again, steps = run(tmp_path, stop_at_two)
    assert (steps, seen, updates_of(again)) == (2, [2], 2)


def test_sigterm_ends_a_run_after_the_update_with_a_checkpoint_from_which_it_goes_on(runs, tmp_path):
    _, whole, *_ = runs

    def terminate_at_four(step, metrics, memory):
        remember(step, metrics, memory)
        if step == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return False

    handler = signal.getsignal(signal.SIGTERM)
    with tiny.unoptimised_graphs():
        with pytest.raises(Stopped) as stopped:
            run(tmp_path, terminate_at_four, save_every=100)
        assert signal.getsignal(signal.SIGTERM) is handler
        assert str(stopped.value) == (
            "stopped by SIGTERM after update 4; its checkpoint is saved: the same command goes on"
        )
        assert stopped.value.status == 143
        assert [path.name for path in (tmp_path / "checkpoints").glob("*.index")] == ["ckpt-4.index"]
        seen = []
        resumed, steps = run(tmp_path, lambda step, *_: seen.append(step), save_every=100)
    assert (steps, seen) == (STEPS, [6])
    for one, other in zip(whole.trainable_variables, resumed.trainable_variables, strict=True):
        np.testing.assert_allclose(other.numpy(), one.numpy(), rtol=0, atol=1e-6, err_msg=one.path)


@pytest.mark.slow
def test_what_was_best_is_judged_after_a_kill_as_without_one(tmp_path):
    losses = {1: 5.0, 2: 3.0, 3: 4.0, 4: 2.0, 5: math.nan, 6: 3.5}

    def train_until(path, last_step, kept):
        strategy = make_strategy(1)
        with strategy.scope():
            model = tiny.language_model(num_train_steps=STEPS, num_layers=1, dropout=0.3)

        def evaluate():
            step = updates_of(model)
            if step > last_step:
                raise Killed
            return {"loss": losses[step]}

        def keep_best(directory):
            kept[updates_of(model)] = tiny.snapshot(model.trainable_variables)

        schedule = Schedule(STEPS, eval_every_steps=1, save_checkpoints_steps=3, log_every_steps=1)
        workdir = WorkingDirectory(str(path))
        train("test", model, strategy, batches_from, schedule, workdir, evaluate, keep_best=keep_best)

    with tiny.unoptimised_graphs():
        whole, killed, resumed = {}, {}, {}
        train_until(tmp_path / "whole", STEPS, whole)
        with pytest.raises(Killed):
            train_until(tmp_path / "killed", 4, killed)
        train_until(tmp_path / "killed", STEPS, resumed)
    assert list(whole) == list(killed) == [1, 2, 4]
    assert list(resumed) == [4], "the checkpoint of update 3 remembers that 3.0 was reached"
    for one, other in zip(whole[4], resumed[4], strict=True):
        np.testing.assert_allclose(other, one, rtol=0, atol=1e-6)
