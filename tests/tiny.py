"""Tiny models and batches: what the tests of models, distillation and training are run on."""

import contextlib
import dataclasses

import keras
import numpy as np
import tensorflow as tf

from chemkd_tf.config import ClassificationConfig, DistillationConfig, PretrainingConfig
from chemkd_tf.distillation.batches import CORPUS, task
from chemkd_tf.distillation.distiller import Distiller
from chemkd_tf.distillation.recipes import Setting
from chemkd_tf.models.architecture import StudentArchitecture, TeacherArchitecture
from chemkd_tf.models.checkpoints import build_encoder
from chemkd_tf.models.heads import classification_model, classification_states, masked_lm_model
from chemkd_tf.stages.pretrain import MaskedLanguageModel
from chemkd_tf.stages.teaching import make_distiller

VOCABULARY = 50
TEACHER_WIDTH = 24
STUDENT_WIDTH = 10
TOKENS = 12
PREDICTIONS = 4
CLASSES = 3

ENCODER_INPUTS = ("token_ids", "segment_ids", "padding_mask")
MASKED_LM_INPUTS = (*ENCODER_INPUTS, "mask_positions")


def teacher_architecture(**changes) -> TeacherArchitecture:
    shape = dict(
        vocabulary_size=VOCABULARY,
        num_layers=2,
        num_heads=2,
        hidden_dim=TEACHER_WIDTH,
        intermediate_dim=32,
        dropout=0.0,
        max_sequence_length=2 * TOKENS,
    )
    return TeacherArchitecture(**{**shape, **changes})


def student_architecture(**changes) -> StudentArchitecture:
    shape = dict(
        vocabulary_size=VOCABULARY, num_layers=2, hidden_dim=STUDENT_WIDTH, max_sequence_length=2 * TOKENS, dropout=0.0
    )
    return StudentArchitecture(**{**shape, **changes})


def distillation_config(**changes) -> DistillationConfig:
    values = dict(
        input_file="records",
        teacher_dir="teacher",
        output_dir="output",
        num_student_layers=2,
        student_width=STUDENT_WIDTH,
        layer_map=(1, 2),
        learning_rate=1e-3,
    )
    return DistillationConfig(**{**values, **changes})


def pretraining_config(**changes) -> PretrainingConfig:
    values = dict(input_file="records", vocab_file="vocab.txt", output_dir="output", learning_rate=1e-3)
    return PretrainingConfig(**{**values, **changes})


def batch(rows: int = 6, tokens: int = TOKENS, seed: int = 0) -> dict[str, np.ndarray]:
    """A random batch in the batch contract: sequences of unequal length, unequal numbers of masked tokens."""
    rng = np.random.default_rng(seed)
    lengths = rng.permutation(np.linspace(3, tokens, rows).round().astype(int))
    is_token = np.arange(tokens) < lengths[:, None]
    masked = rng.permutation(np.arange(rows) % PREDICTIONS + 1)
    return {
        "token_ids": np.where(is_token, rng.integers(5, VOCABULARY, (rows, tokens)), 0).astype("int32"),
        "segment_ids": np.where(is_token, rng.integers(0, 2, (rows, tokens)), 0).astype("int32"),
        "padding_mask": is_token.astype("int32"),
        "mask_positions": (rng.random((rows, PREDICTIONS)) * lengths[:, None]).astype("int32"),
        "mask_ids": rng.integers(5, VOCABULARY, (rows, PREDICTIONS)).astype("int32"),
        "mask_weights": (np.arange(PREDICTIONS) < masked[:, None]).astype("float32"),
        "example_weight": np.ones(rows, "float32"),
    }


def pad(values: dict[str, np.ndarray], tokens: int, predictions: int = 0, seed: int = 1) -> dict[str, np.ndarray]:
    """The batch with more padding at its right; what stands in the padding is arbitrary, since nothing may read it."""
    rng = np.random.default_rng(seed)
    rows = len(values["token_ids"])
    padded = dict(values)
    for name, low, high in (("token_ids", 0, VOCABULARY), ("segment_ids", 0, 2), ("padding_mask", 0, 1)):
        extra = rng.integers(low, high, (rows, tokens)).astype("int32")
        padded[name] = np.concatenate([values[name], extra], axis=1)
    for name, high in (("mask_positions", 3), ("mask_ids", VOCABULARY)):
        extra = rng.integers(0, high, (rows, predictions)).astype("int32")
        padded[name] = np.concatenate([values[name], extra], axis=1)
    padded["mask_weights"] = np.concatenate([values["mask_weights"], np.zeros((rows, predictions), "float32")], axis=1)
    return padded


def tensors(values: dict[str, np.ndarray]) -> dict[str, tf.Tensor]:
    return {name: tf.constant(value) for name, value in values.items()}


def select(values: dict, names: tuple[str, ...] = ENCODER_INPUTS) -> dict:
    return {name: tf.constant(values[name]) for name in names}


def randomise(model, seed: int = 0):
    """Sets every weight from the seed alone. No bias stays 0 and no gamma 1: either would hide what it does."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        is_gamma = variable.name == "gamma"
        variable.assign(is_gamma + rng.normal(0, 0.1 if is_gamma else 0.3, variable.shape).astype("float32"))
    return model


def masked_lm(architecture, seed: int = 0) -> keras.Model:
    return randomise(masked_lm_model(build_encoder(architecture)), seed)


def language_model(
    random_seed: int = 7, num_train_steps: int = 100, config=None, use_xla: bool = False, **shape
) -> MaskedLanguageModel:
    """A compiled teacher pretraining without warm-up."""
    model = MaskedLanguageModel(masked_lm(teacher_architecture(**shape)), random_seed)
    model.compile_for(config or pretraining_config(), num_train_steps, num_warmup_steps=0, use_xla=use_xla)
    return model


def setting(config, teacher=None, student=None, is_task=False) -> Setting:
    """`teacher` and `student` are changes to the tiny architectures; a student with heads is a transformer."""
    shape = teacher_architecture if "num_heads" in (student or {}) else student_architecture
    return Setting(config, teacher_architecture(**(teacher or {})), shape(**(student or {})), is_task)


def distiller(config=None, teacher=None, student=None, random_seed: int = 7, num_train_steps: int = 100) -> Distiller:
    """A compiled distillation without warm-up; `teacher` and `student` are changes to the tiny architectures."""
    of = setting(config or distillation_config(), teacher, student)
    models = (masked_lm(of.teacher, seed=3), masked_lm(of.student, seed=4))
    return _distiller(of, models, CORPUS, random_seed, num_train_steps)


def task_distiller(
    config, teacher=None, student=None, random_seed: int = 1, num_train_steps: int = 100, pooling: str = "mean"
) -> Distiller:
    """The same for a task: a teacher that drops out, and a student, both classifiers of `CLASSES`."""
    of = setting(config, teacher, student, is_task=True)
    shapes = ((of.teacher, 0.5), (of.student, 0.0))
    networks = [
        randomise(classification_model(build_encoder(shape), CLASSES, pooling, dropout), seed)
        for seed, (shape, dropout) in enumerate(shapes, start=3)
    ]
    models = tuple(map(classification_states, networks))
    return _distiller(of, models, task(bool(config.unlabelled_file)), random_seed, num_train_steps)


def _distiller(of: Setting, models, view, random_seed: int, num_train_steps: int) -> Distiller:
    """With projections that depend on nothing but their number."""
    of = dataclasses.replace(of, config=dataclasses.replace(of.config, random_seed=random_seed))
    model = make_distiller(of, *models, view, num_train_steps, num_warmup_steps=0)
    for seed, objective in enumerate(model.objectives):
        randomise(objective, seed)
    return model


def classification_config(**changes) -> ClassificationConfig:
    """Distillation on a task, with unlabelled texts."""
    values = dict(
        do_train=True, data_dir="labels", init_checkpoint="student", output_dir="output", teacher_dir="teacher",
        unlabelled_file="corpus", learning_rate=1e-3, layer_map=(1, 2),
    )  # fmt: skip
    return ClassificationConfig(**{**values, **changes})


def task_batch(seed: int = 4) -> dict[str, np.ndarray]:
    """Six texts, the last four without a label; the last one only fills the batch."""
    kept = {name: value for name, value in batch(seed=seed).items() if not name.startswith("mask_")}
    return {
        **kept,
        "label_ids": np.array([2, 0, 0, 0, 0, 0], np.int32),
        "has_label": np.array([1, 1, 0, 0, 0, 0], np.float32),
        "example_weight": np.array([1, 1, 1, 1, 1, 0], np.float32),
    }


def one_layer_distiller(config=None, teacher=None, student=None, **arguments) -> Distiller:
    """The smallest distillation: one layer each."""
    config = config or one_layer_config()
    return distiller(config, {"num_layers": 1, **(teacher or {})}, {"num_layers": 1, **(student or {})}, **arguments)


def one_layer_config(**changes) -> DistillationConfig:
    return distillation_config(**{"num_student_layers": 1, "layer_map": (1,), **changes})


def evaluate(model, values: dict[str, np.ndarray]) -> dict[str, float]:
    """Metrics of one batch in inference mode."""
    metrics = model.metrics_of(model.compute_totals(tensors(values)))
    return {name: float(value) for name, value in metrics.items()}


def snapshot(variables) -> list[np.ndarray]:
    return [np.array(variable.numpy()) for variable in variables]


@contextlib.contextmanager
def unoptimised_graphs():
    """Three updates of a tiny model run sooner than TensorFlow optimises their graph."""
    before = tf.config.optimizer.get_experimental_options()
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    yield
    tf.config.optimizer.set_experimental_options(
        {"disable_meta_optimizer": before.get("disable_meta_optimizer", False)}
    )
