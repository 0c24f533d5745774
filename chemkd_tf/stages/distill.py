"""Stage 2: the teacher's embedding, hidden and prediction layers into the student (paper section 3.3)."""

import shutil

from chemkd_tf.config import DistillationConfig
from chemkd_tf.data.manifest import read_manifest
from chemkd_tf.distillation.batches import CORPUS
from chemkd_tf.distillation.recipes import Setting
from chemkd_tf.errors import InputError
from chemkd_tf.models.checkpoints import build_masked_lm, save_pretrained
from chemkd_tf.models.importing.load import load_encoder
from chemkd_tf.models.initial_student import initialise_student
from chemkd_tf.models.students import student_architecture
from chemkd_tf.stages.best import save_best
from chemkd_tf.stages.pretrain import held_out_batches, require_vocabulary, training_batches
from chemkd_tf.stages.teaching import make_distiller
from chemkd_tf.text.vocabulary import load_vocabulary
from chemkd_tf.training import chief
from chemkd_tf.training.evaluation import Evaluator
from chemkd_tf.training.loop import OF_PHASE, Schedule, train
from chemkd_tf.training.strategy import make_strategy, set_seed_and_precision


def train_and_evaluate(config: DistillationConfig) -> dict[str, float]:
    """Distils the student and writes its working directory.

    Returns:
        Held-out losses, R² and cosine per matched layer; empty without --eval_input_file.

    Raises:
        InputError: bad input (see the messages).
    """
    manifest = read_manifest(config.input_file)
    held_out = read_manifest(config.eval_input_file) if config.eval_input_file else None
    strategy = make_strategy(config.num_replicas)
    set_seed_and_precision(config.random_seed, config.mixed_bfloat16)
    with strategy.scope():
        teacher = load_encoder(config.teacher_dir, "teacher_dir")
        if teacher.architecture.kind != "teacher":
            raise InputError(f"--teacher_dir={config.teacher_dir}: holds a {teacher.architecture.kind}, not a teacher")
        _require_fit(config, teacher, manifest, held_out)
        longest = max(records.format.max_seq_length for records in (manifest, held_out) if records)
        architecture = student_architecture(config, teacher.architecture, longest)
        student = build_masked_lm(architecture)
        initialise_student(config, architecture, student, teacher)
        setting = Setting(config, teacher.architecture, architecture, is_task=False)
        steps = config.num_train_steps, config.num_warmup_steps
        distiller = make_distiller(setting, teacher.masked_lm, student, CORPUS, *steps)

    workdir = chief.working_directory(strategy, "distill", config, manifest, held_out)
    if workdir.writes:
        shutil.copyfile(teacher.vocabulary_file, workdir.file("vocab.txt"))
    evaluator = held_out and Evaluator(
        distiller, strategy, held_out_batches(held_out, config, strategy), config.max_eval_steps
    )
    result = architecture, teacher.do_lower_case, student, teacher.vocabulary_file
    train(
        "distilling",
        distiller,
        strategy,
        lambda first: training_batches(manifest, config, strategy, first),
        Schedule(
            config.num_train_steps, config.eval_every_steps, config.save_checkpoints_steps, config.log_every_steps
        ),
        workdir,
        evaluator,
        lambda step, metrics, memory: (
            config.stop_when_converged and has_converged(config, step, metrics, memory[OF_PHASE])
        ),
        keep_best=lambda directory: save_best(directory, *result),
    )
    chief.from_chief(strategy, lambda: save_pretrained(workdir.path, *result))
    if not evaluator:
        return {}
    metrics = evaluator.latest or evaluator()  # a training that took place ended with one
    print("held out: " + "  ".join(f"{name} {value:.4f}" for name, value in metrics.items()), flush=True)
    return metrics


def has_converged(config: DistillationConfig, step: int, metrics: dict, memory: dict) -> bool:
    """Whether the held-out loss has stopped falling: --patience evaluations without --min_improvement (Algorithm 1).

    Args:
        config: patience and the smallest relative improvement.
        step: updates made, for the message.
        metrics: of this evaluation.
        memory: of the phase; keeps the best loss between calls.
    """
    best = memory.get("best_loss")
    if best is None or metrics["loss"] < best * (1 - config.min_improvement):
        memory.update(best_loss=metrics["loss"], evaluations_without_improvement=0)
        return False
    memory["evaluations_without_improvement"] += 1
    if memory["evaluations_without_improvement"] < config.patience:
        return False
    print(f"converged after update {step:,}: held-out loss {metrics['loss']:.4f}, best {best:.4f}", flush=True)
    return True


def _require_fit(config: DistillationConfig, teacher, manifest, held_out) -> None:
    """Refuses records that don't fit the teacher, in one line each."""
    vocabulary = load_vocabulary(teacher.vocabulary_file)
    require_vocabulary(manifest, vocabulary, "--input_file", teacher.vocabulary_file)
    if held_out:
        require_vocabulary(held_out, vocabulary, "--eval_input_file", teacher.vocabulary_file)
    for flag, records in (("input_file", manifest), ("eval_input_file", held_out)):
        if records and records.format.max_seq_length > teacher.architecture.max_sequence_length:
            raise InputError(
                f"--{flag}: records of {records.format.max_seq_length} tokens, but the teacher takes at most "
                f"{teacher.architecture.max_sequence_length}: make them again with a shorter --max_seq_length"
            )
