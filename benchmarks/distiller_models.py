"""The TensorFlow sides of benchmarks/distiller.py."""

import os

import numpy as np
from absl import flags

from benchmarks.distiller_update import LEARNING_RATE, SEED, WEIGHTS_FILE, Work, trimmed
from chemkd_tf import startup

startup.import_tensorflow_quietly()

import keras  # noqa: E402
import tensorflow as tf  # noqa: E402

from chemkd_tf.config import DistillationConfig  # noqa: E402
from chemkd_tf.distillation.batches import CORPUS  # noqa: E402
from chemkd_tf.distillation.recipes import Setting  # noqa: E402
from chemkd_tf.models import states  # noqa: E402
from chemkd_tf.models.architecture import StudentArchitecture, TeacherArchitecture  # noqa: E402
from chemkd_tf.models.checkpoints import build_masked_lm  # noqa: E402
from chemkd_tf.models.families.table import FAMILIES  # noqa: E402
from chemkd_tf.models.importing.hugging_face import foreign_value, is_transposed  # noqa: E402
from chemkd_tf.stages.teaching import make_distiller  # noqa: E402
from chemkd_tf.training.strategy import make_strategy, set_seed_and_precision  # noqa: E402

FLAGS = flags.FLAGS
_MODEL_INPUTS = (*states.ENCODER_INPUTS, states.MASK_POSITIONS)


def teacher_architecture() -> TeacherArchitecture:
    """The paper's, unless flags say otherwise; its head has the layers' activation: transformers knows one for both."""
    return TeacherArchitecture(
        vocabulary_size=FLAGS.vocab_size,
        num_layers=FLAGS.num_layers,
        hidden_dim=FLAGS.hidden_size,
        num_heads=FLAGS.hidden_size // 64,
        intermediate_dim=4 * FLAGS.hidden_size,
        head_activation="gelu_tanh",
    )


def student_architecture() -> StudentArchitecture:
    """The paper's, unless flags say otherwise."""
    return StudentArchitecture(
        vocabulary_size=FLAGS.vocab_size, num_layers=len(FLAGS.layer_map), hidden_dim=FLAGS.student_width
    )


def ours() -> Work:
    """`Distiller` with the paper's three losses; batches trimmed, one forward pass of each model."""
    strategy = make_strategy(1)
    set_seed_and_precision(SEED, FLAGS.precision == "bfloat16")
    config = DistillationConfig(
        output_dir="-",
        input_file="-",
        teacher_dir="-",
        num_student_layers=len(FLAGS.layer_map),
        student_width=FLAGS.student_width,
        layer_map=tuple(map(int, FLAGS.layer_map)),
        learning_rate=LEARNING_RATE,
        random_seed=SEED,
    )
    with strategy.scope():
        teacher, student = build_masked_lm(teacher_architecture()), build_masked_lm(student_architecture())
        setting = Setting(config, teacher_architecture(), student_architecture(), is_task=False)
        distiller = make_distiller(setting, teacher, student, CORPUS, 1_000_000, 0)
    projections = [
        projection for objective in distiller.objectives for projection in getattr(objective, "projections", [])
    ]
    family = FAMILIES["bert"]
    np.savez(
        os.path.join(FLAGS.folder, WEIGHTS_FILE),
        **{f"teacher/{family.hugging_face_name(v.path)}": foreign_value(v.path, v.numpy()) for v in teacher.weights},
        **{f"student/{v.path}": v.numpy() for v in student.weights},
        **{f"projection/{number}": layer.kernel.numpy() for number, layer in enumerate(projections)},
    )

    @tf.function(reduce_retracing=True)
    def train_step(batch):
        return strategy.run(distiller.train_step, args=(batch,))

    def prepare(arrays):
        return {name: tf.constant(array) for name, array in trimmed(arrays).items()}

    return Work(prepare, lambda batch: float(train_step(batch)["loss"]), {"teacher_entropy": _entropy(teacher)})


def _entropy(teacher: keras.Model) -> float:
    """Of the teacher's answers at the masked positions of the full batch: soft cross-entropy less KL divergence."""
    with np.load(os.path.join(FLAGS.folder, "full.npz")) as arrays:
        inputs = {name: tf.constant(arrays[name]) for name in _MODEL_INPUTS}
    logits = tf.cast(teacher(inputs, training=False)[states.LOGITS], tf.float32)
    return float(-tf.reduce_mean(tf.reduce_sum(tf.nn.softmax(logits) * tf.nn.log_softmax(logits), axis=-1)))


def keras_distiller(same_terms: bool) -> Work:
    """`keras.distillation.Distiller` over the same two models.

    It trains the student's weights alone and taps layers by name on the way to the output, so the projections belong
    to its student here: both models return a list, [embedding, matched hidden states, logits], and the losses are given
    for each output, as its documentation does for models of several outputs. (So it also runs the student once; with
    names of layers it would run it twice.) The labels' loss is off (`student_loss_weight=0`), for ours has none.
    `LogitsDistillation` with the name of its default loss takes the divergence of raw logits; with the loss's object,
    of probabilities.

    Args:
        same_terms: True: logits at the masked positions, batches trimmed, --precision, our optimizer and clipping.
            False: logits of every position, batches padded to the end, float32, the optimizer of its documentation.
    """
    set_seed_and_precision(SEED, same_terms and FLAGS.precision == "bfloat16")
    startup.run_first_operation_quietly()
    teacher, student = build_masked_lm(teacher_architecture()), build_masked_lm(student_architecture())
    hidden = [states.hidden(int(layer)) for layer in FLAGS.layer_map]
    matched = {states.hidden(number): layer for number, layer in enumerate(hidden, start=1)}
    projections, outputs, targets = [], [], []
    for student_state, teacher_state in {states.EMBEDDING: states.EMBEDDING, **matched}.items():
        targets.append(teacher.output[teacher_state])
        projections.append(keras.layers.Dense(FLAGS.hidden_size, use_bias=False, name=f"projected_{student_state}"))
        outputs.append(projections[-1](student.output[student_state]))
    with np.load(os.path.join(FLAGS.folder, WEIGHTS_FILE)) as weights:
        for variable in teacher.weights:
            array = weights[f"teacher/{FAMILIES['bert'].hugging_face_name(variable.path)}"]
            variable.assign(np.reshape(array.T if is_transposed(variable.path) else array, variable.shape))
        for variable in student.weights:
            variable.assign(weights[f"student/{variable.path}"])
        for number, projection in enumerate(projections):
            projection.kernel.assign(weights[f"projection/{number}"])
    distiller = keras.distillation.Distiller(
        teacher=keras.Model(teacher.input, [*targets, teacher.output[states.LOGITS]]),
        student=keras.Model(student.input, [*outputs, student.output[states.LOGITS]]),
        distillation_losses=[
            keras.distillation.FeatureDistillation(loss=["mse"] * len(outputs) + [None]),
            keras.distillation.LogitsDistillation(
                temperature=1.0, loss=[None] * len(outputs) + [keras.losses.KLDivergence()]
            ),
        ],
        distillation_loss_weights=[1.0, 1.0],
        student_loss_weight=0.0,
    )
    optimizer = "adam"
    if same_terms:
        optimizer = keras.optimizers.AdamW(LEARNING_RATE, weight_decay=0.01, epsilon=1e-6, global_clipnorm=1.0)
    distiller.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy")

    def prepare(arrays):
        if same_terms:
            arrays = trimmed(arrays)
        else:
            shape = arrays["token_ids"].shape
            arrays = {**arrays, states.MASK_POSITIONS: np.broadcast_to(np.arange(shape[1], dtype="int32"), shape)}
        return {name: tf.constant(arrays[name]) for name in _MODEL_INPUTS}

    return Work(prepare, lambda batch: float(distiller.train_on_batch(batch, return_dict=True)["loss"]))
