"""Runs a model to its last update: resumes, trains, logs, evaluates, checkpoints."""

import dataclasses
import math
import signal
from collections.abc import Callable

import tensorflow as tf

from chemkd_tf.errors import Stopped
from chemkd_tf.training import chief, multi_worker, restarts
from chemkd_tf.training.callbacks import Checkpointing, Evaluation, MetricsLog, Unlogged
from chemkd_tf.training.checkpoints import StepCheckpoints
from chemkd_tf.training.divergence import FiniteCheck
from chemkd_tf.training.evaluation import Evaluator
from chemkd_tf.training.interruption import TerminationRequest
from chemkd_tf.training.replica_exact import ReplicaExactModel
from chemkd_tf.workdir import BEST_FOLDER, WorkingDirectory

# In the memory that checkpoints keep, beside what a stage puts there.
_BEST_LOSS, _BEST_STEP = "best_held_out_loss", "best_held_out_step"


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
    schedule: Schedule,
    workdir: WorkingDirectory,
    evaluator: Evaluator | None = None,
    after_evaluation: Callable[[int, dict, dict], bool] = lambda step, metrics, memory: False,
    keep_best: Callable[[str], None] | None = None,
) -> int:
    """Trains from the newest checkpoint, or from the start, to the last update.

    Args:
        label: what the progress line says.
        model: compiled under `strategy`.
        strategy: where it lives.
        batches_from: k to the data set that begins with global batch k.
        schedule: how often what.
        workdir: the run's folder.
        evaluator: held-out metrics; None: no evaluation.
        after_evaluation: called with (step, metrics, memory); `memory` is a JSON object that checkpoints keep.
            Returning True ends the training.
        keep_best: called with a folder whenever the held-out loss is lower than ever, to save what is trained there.
            How low that was is kept in checkpoints: a resumed run judges as the undisturbed one would have.

    Returns:
        Updates made in all.

    Raises:
        Stopped: SIGTERM came; a checkpoint of the update that was under way is saved. An evaluation that is due after
            that update takes place first, so that the continued run has every point of the curve.
        InputError: a loss or a gradient was not finite, see `divergence`.
    """
    checkpoints = StepCheckpoints(workdir.file("checkpoints"), model)
    first_step = chief.restore(strategy, model, checkpoints)
    memory = checkpoints.host.values
    if first_step:
        print(f"resuming {label} after update {first_step:,}", flush=True)
    workdir.truncate_metrics(first_step)
    if first_step >= schedule.num_train_steps or memory.get("stopped"):
        _report_best(workdir, memory)
        return first_step
    print(f"TensorBoard: tensorboard --logdir {workdir.file('tensorboard')}", flush=True)

    log = Unlogged(first_step)
    if workdir.writes:
        log = MetricsLog(workdir, first_step, schedule.num_train_steps, schedule.log_every_steps, label)
    callbacks = [FiniteCheck(first_step, batches_from, workdir, checkpoints), log]
    if evaluator is not None:

        def then(step: int, metrics: dict) -> bool:
            if keep_best and metrics["loss"] < memory.get(_BEST_LOSS, math.inf):  # NaN is not
                if workdir.writes:
                    keep_best(workdir.file(BEST_FOLDER))
                memory.update({_BEST_LOSS: metrics["loss"], _BEST_STEP: step})
            memory["stopped"] = bool(after_evaluation(step, metrics, memory))
            return memory["stopped"]

        callbacks.append(
            Evaluation(first_step, schedule.eval_every_steps, schedule.num_train_steps, evaluator, log, then)
        )
    multi_worker.prepare_fit(model, strategy)
    with TerminationRequest() as termination:
        if workdir.writes:
            callbacks.append(
                Checkpointing(
                    first_step, schedule.save_checkpoints_steps, schedule.num_train_steps, checkpoints, termination
                )
            )
        try:
            # One Keras epoch of exactly the updates that are left: everything else counts updates.
            model.fit(
                multi_worker.distribute(strategy, batches_from(first_step)),
                shuffle=False,
                epochs=1,
                steps_per_epoch=schedule.num_train_steps - first_step,
                verbose=0,
                callbacks=callbacks,
            )
        except tf.errors.OpError as error:
            # Of several workers the chief alone obeys at once; without it the others have nothing left to do.
            if not (termination.received and restarts.is_loss(error)):
                raise
    if termination.received:
        raise Stopped(
            f"stopped by SIGTERM after update {log.step:,}; "
            + ("its checkpoint is saved: " if workdir.writes else "")
            + "the same command goes on",
            status=128 + signal.SIGTERM,
        )
    _report_best(workdir, memory)
    return log.step


def _report_best(workdir: WorkingDirectory, memory: dict) -> None:
    if _BEST_STEP in memory:
        print(
            f"best held-out loss {memory[_BEST_LOSS]:.4f} after update {memory[_BEST_STEP]:,}: "
            f"{workdir.file(BEST_FOLDER)}",
            flush=True,
        )
