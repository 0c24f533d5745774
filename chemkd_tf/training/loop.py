"""Runs a model to its last update: resumes, trains, logs, evaluates, checkpoints."""

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from chemkd_tf.training import chief, multi_worker
from chemkd_tf.training.callbacks import Checkpointing, Evaluation, MetricsLog, Unlogged
from chemkd_tf.training.checkpoints import StepCheckpoints
from chemkd_tf.training.evaluation import Evaluator
from chemkd_tf.training.replica_exact import ReplicaExactModel
from chemkd_tf.workdir import WorkingDirectory


@dataclasses.dataclass(frozen=True)
class Schedule:
    """When what happens, in updates."""

    num_train_steps: int
    eval_every_steps: int
    save_checkpoints_steps: int
    log_every_steps: int


def train(
    label: str,
    model: ReplicaExactModel,
    strategy: tf.distribute.Strategy,
    batches_from: Callable[[int], tf.data.Dataset],
    batch_size: int,
    schedule: Schedule,
    workdir: WorkingDirectory,
    evaluator: Evaluator | None = None,
    after_evaluation: Callable[[int, dict, dict], bool] = lambda step, metrics, memory: False,
) -> int:
    """Trains from the newest checkpoint, or from the start, to the last update.

    Args:
        label: what the progress line says.
        model: compiled under `strategy`.
        strategy: where it lives.
        batches_from: k to the data set that begins with global batch k.
        batch_size: examples per update.
        schedule: how often what.
        workdir: the run's folder.
        evaluator: held-out metrics; None: no evaluation.
        after_evaluation: called with (step, metrics, memory); `memory` is a JSON object that checkpoints keep.
            Returning True ends the training.

    Returns:
        Updates made in all.
    """
    checkpoints = StepCheckpoints(workdir.file("checkpoints"), model)
    first_step = chief.restore(strategy, model, checkpoints)
    memory = checkpoints.host.values
    if first_step:
        print(f"resuming {label} after update {first_step:,}", flush=True)
    workdir.truncate_metrics(first_step)
    if first_step >= schedule.num_train_steps or memory.get("stopped"):
        return first_step
    print(f"TensorBoard: tensorboard --logdir {workdir.file('tensorboard')}", flush=True)

    log = Unlogged(first_step)
    if workdir.writes:
        log = MetricsLog(workdir, first_step, schedule.num_train_steps, batch_size, schedule.log_every_steps, label)
    callbacks = [log]
    if evaluator is not None:

        def then(step: int, metrics: dict) -> bool:
            memory["stopped"] = bool(after_evaluation(step, metrics, memory))
            return memory["stopped"]

        callbacks.append(
            Evaluation(first_step, schedule.eval_every_steps, schedule.num_train_steps, evaluator, log, then)
        )
    if workdir.writes:
        callbacks.append(
            Checkpointing(first_step, schedule.save_checkpoints_steps, schedule.num_train_steps, checkpoints)
        )
    multi_worker.prepare_fit(model, strategy)
    # One Keras epoch of exactly the updates that are left: everything else counts updates.
    model.fit(
        multi_worker.distribute(strategy, batches_from(first_step)),
        shuffle=False,
        epochs=1,
        steps_per_epoch=schedule.num_train_steps - first_step,
        verbose=0,
        callbacks=callbacks,
    )
    return log.step
