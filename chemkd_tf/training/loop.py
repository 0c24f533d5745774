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
_PHASE, _PHASE_START = "phase", "phase_start"
# In it: what a stage remembers of one phase alone.
OF_PHASE = "of_phase"


@dataclasses.dataclass(frozen=True)
class Schedule:
    """When what happens, in updates. `num_train_steps`: of all phases together."""

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
    """Trains from the newest checkpoint, or from the start, to the last update of the model's last phase.

    Args:
        label: what the progress line says.
        model: compiled under `strategy`, for one or more phases.
        strategy: where it lives.
        batches_from: k to the data set that begins with global batch k.
        schedule: how often what.
        workdir: the run's folder.
        evaluator: held-out metrics; None: no evaluation.
        after_evaluation: called with (step, metrics, memory); `memory` is a JSON object that checkpoints keep, and
            `memory["of_phase"]` one that every phase begins empty. Returning True ends the phase, and with the last one
            the training.
        keep_best: called with a folder whenever the held-out loss is lower than ever in this phase (phases have
            different losses), to save what is trained there. How low that was is kept in checkpoints: a resumed run
            judges as the undisturbed one would have.

    Returns:
        Updates made in all.

    Raises:
        Stopped: SIGTERM came; a checkpoint of the update that was under way is saved. An evaluation that is due after
            that update takes place first, so that the continued run has every point of the curve.
        InputError: a loss or a gradient was not finite, see `divergence`.
    """
    directory = workdir.file("checkpoints")
    remembered = chief.from_chief(strategy, lambda: StepCheckpoints.peek(directory))
    first_step, first_phase = remembered.get("step", 0), remembered.get(_PHASE, 0)
    with strategy.scope():
        model.begin_phase(first_phase, remembered.get(_PHASE_START, 0))
    checkpoints = StepCheckpoints(directory, model)
    chief.restore(strategy, model, checkpoints)
    memory = checkpoints.host.values
    memory.setdefault(OF_PHASE, {})
    if first_step:
        print(f"resuming {label} after update {first_step:,}", flush=True)
    workdir.truncate_metrics(first_step)
    if not _has_ended(model, memory, first_step) or first_phase + 1 < len(model.phases):
        print(f"TensorBoard: tensorboard --logdir {workdir.file('tensorboard')}", flush=True)

    step = first_step
    for number in range(first_phase, len(model.phases)):
        if number > first_phase:
            with strategy.scope():
                model.begin_phase(number, step)
            memory = _memory_of_next_phase(memory, number, step)
            checkpoints = StepCheckpoints(directory, model)
            checkpoints.host.values = memory
        if not _has_ended(model, memory, step):
            of_phase = f" ({model.phase.name}, {number + 1} of {len(model.phases)})" if model.phase.name else ""
            step = _train_phase(
                label + of_phase, model, strategy, batches_from, step, schedule, workdir, checkpoints, evaluator,
                after_evaluation, keep_best,
            )  # fmt: skip
    _report_best(workdir, memory)
    return step


def _has_ended(model: ReplicaExactModel, memory: dict, step: int) -> bool:
    """Whether the phase that the model is in has nothing left to do."""
    return bool(memory.get("stopped")) or step >= memory.get(_PHASE_START, 0) + model.phase.num_train_steps


def _memory_of_next_phase(memory: dict, number: int, step: int) -> dict:
    """What is remembered beyond a phase: what a stage put there for all of them."""
    left_behind = ("stopped", _BEST_LOSS, _BEST_STEP)
    kept = {name: value for name, value in memory.items() if name not in left_behind}
    return {**kept, _PHASE: number, _PHASE_START: step, OF_PHASE: {}}


def _train_phase(
    label: str,
    model: ReplicaExactModel,
    strategy: tf.distribute.Strategy,
    batches_from: Callable[[int], tf.data.Dataset],
    first_step: int,
    schedule: Schedule,
    workdir: WorkingDirectory,
    checkpoints: StepCheckpoints,
    evaluator: Evaluator | None,
    after_evaluation: Callable[[int, dict, dict], bool],
    keep_best: Callable[[str], None] | None,
) -> int:
    """Trains to the end of the model's phase; arguments as of `train`. Returns the updates made in all."""
    memory = checkpoints.host.values
    last_step = memory.get(_PHASE_START, 0) + model.phase.num_train_steps
    log = Unlogged(first_step)
    if workdir.writes:
        log = MetricsLog(workdir, first_step, last_step, schedule.log_every_steps, label)
    callbacks = [FiniteCheck(first_step, batches_from, workdir, checkpoints), log]
    if evaluator is not None:

        def then(step: int, metrics: dict) -> bool:
            if keep_best and metrics["loss"] < memory.get(_BEST_LOSS, math.inf):  # NaN is not
                if workdir.writes:
                    keep_best(workdir.file(BEST_FOLDER))
                memory.update({_BEST_LOSS: metrics["loss"], _BEST_STEP: step})
            memory["stopped"] = bool(after_evaluation(step, metrics, memory))
            return memory["stopped"]

        callbacks.append(Evaluation(first_step, schedule.eval_every_steps, last_step, evaluator, log, then))
    multi_worker.prepare_fit(model, strategy)
    with TerminationRequest() as termination:
        if workdir.writes:
            callbacks.append(
                Checkpointing(first_step, schedule.save_checkpoints_steps, last_step, checkpoints, termination)
            )
        try:
            # One Keras epoch of exactly the updates that are left: everything else counts updates.
            model.fit(
                multi_worker.distribute(strategy, batches_from(first_step)),
                shuffle=False,
                epochs=1,
                steps_per_epoch=last_step - first_step,
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
    return log.step


def _report_best(workdir: WorkingDirectory, memory: dict) -> None:
    if _BEST_STEP in memory:
        print(
            f"best held-out loss {memory[_BEST_LOSS]:.4f} after update {memory[_BEST_STEP]:,}: "
            f"{workdir.file(BEST_FOLDER)}",
            flush=True,
        )
