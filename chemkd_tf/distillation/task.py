"""Distillation on a task: a fine-tuned teacher answers for texts that have no label (paper section 4.3.1)."""

import keras
import numpy as np
import tensorflow as tf

from chemkd_tf.distillation import losses
from chemkd_tf.distillation.objectives import StateMatching
from chemkd_tf.models import states
from chemkd_tf.progress import Progress
from chemkd_tf.training.classification import Classification
from chemkd_tf.training.replica_exact import Terms

TASK_LOSS = "task_prediction_loss"
REPRESENTATION_LOSS = "task_representation_loss"
_REPRESENTATION = "representation"


class TaskDistiller(Classification):
    """Cross-entropy on the labelled texts, L_pred over the classes on the unlabelled ones, representations on all.

    A text's representation is the vector that its classes are read from; the student's is projected to the teacher's
    width, and the projection is left out of what is kept. It says more than an answer: as many numbers as the teacher
    is wide, not as many as there are classes.

    Args:
        network: the student, see `heads.classification_model`.
        teacher: a fine-tuned classifier with the same classes; it never moves and never drops out. Batches with
            `taught_logits` hold its answers already (`answers`): it is then asked for representations alone.
        prediction_weight: of L_pred; the labels' weighs 1.
        representation_weight: of the mean squared error of the representations; 0: they are left alone.
        temperature: Tem of L_pred.
        random_seed: of the student's dropout.
    """

    def __init__(
        self,
        network: keras.Model,
        teacher: keras.Model,
        prediction_weight: float,
        representation_weight: float,
        temperature: float,
        random_seed: int,
    ):
        loss_weights = {"classification_loss": 1.0, TASK_LOSS: prediction_weight}
        if representation_weight:
            loss_weights[REPRESENTATION_LOSS] = representation_weight
        super().__init__(network, random_seed, loss_weights)
        teacher.trainable = False
        self.teacher = _with_representation(teacher)
        self.student = _with_representation(network)
        self.temperature = temperature
        self.representations = None
        if representation_weight:
            widths = (model.output[_REPRESENTATION].shape[-1] for model in (self.student, self.teacher))
            self.representations = StateMatching(REPRESENTATION_LOSS, [(_REPRESENTATION, _REPRESENTATION)], *widths)

    def compute_terms(self, batch: dict[str, tf.Tensor], training: bool) -> Terms:
        """Losses by name; statistics also: how often both answer alike, how near the representations are."""
        inputs = states.select(batch, states.ENCODER_INPUTS)
        # Only the texts whose answers count are shown to the teacher.
        asked = tf.ones_like(batch["has_label"]) if self.representations else 1.0 - batch["has_label"]
        asked = tf.where(asked * batch["example_weight"] > 0)[:, 0]
        if self.representations or states.TAUGHT_LOGITS not in batch:
            teacher = self.teacher({name: tf.gather(value, asked) for name, value in inputs.items()}, training=False)
            taught = teacher[states.LOGITS]
        else:
            taught = tf.gather(batch[states.TAUGHT_LOGITS], asked)
        outputs = self.student(inputs, training=training)
        terms = self.terms_of_labels(batch, outputs[states.LOGITS])
        student = {name: tf.gather(value, asked) for name, value in outputs.items()}
        logits = student[states.LOGITS]
        weights, has_label = (tf.gather(batch[name], asked) for name in ("example_weight", "has_label"))
        unlabelled_weights = weights * (1.0 - has_label)
        # One "position" per text: the loss of the corpus, over the classes instead of the vocabulary.
        loss = losses.soft_cross_entropy(
            taught[:, None], logits[:, None], unlabelled_weights[:, None], self.temperature
        )
        alike = tf.cast(tf.argmax(taught, -1) == tf.argmax(logits, -1), tf.float32)
        all_losses = {**terms.losses, TASK_LOSS: loss}
        statistics = {
            **terms.statistics,
            "alike": tf.reduce_sum(alike * unlabelled_weights),
            "unlabelled": tf.reduce_sum(unlabelled_weights),
        }
        if self.representations:
            # One "token" per text, likewise.
            outcome = self.representations(
                {_REPRESENTATION: student[_REPRESENTATION][:, None]},
                {_REPRESENTATION: teacher[_REPRESENTATION][:, None]},
                {"padding_mask": tf.ones_like(weights)[:, None], "example_weight": weights},
            )
            all_losses[REPRESENTATION_LOSS] = outcome.loss
            statistics.update(outcome.statistics)
        return Terms(all_losses, statistics)

    def compute_weights(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """1 for an example with a label, one without, and any, in this order."""
        weights = {**super().compute_weights(batch), TASK_LOSS: batch["example_weight"] * (1.0 - batch["has_label"])}
        return {**weights, REPRESENTATION_LOSS: batch["example_weight"]} if self.representations else weights

    def summarise(self, statistics: dict) -> dict:
        """Share of right labels, of unlabelled texts answered as by the teacher; fit of the representations."""
        agreement = statistics["alike"] / tf.maximum(statistics["unlabelled"], 1e-9)
        fit = self.representations.summarise(statistics) if self.representations else {}
        return {**super().summarise(statistics), "agreement_with_teacher": agreement, **fit}


def answers(teacher: keras.Model, batches: tf.data.Dataset, num_texts: int, label: str) -> np.ndarray:
    """Asks a fine-tuned classifier once for every text, with progress.

    Args:
        teacher: see `TaskDistiller`.
        batches: the texts in order, shapes as in the batch contract; rows behind the last text are passed over.
        num_texts: N.
        label: what the progress line says.

    Returns:
        Logits, float32 `[N, C]`.
    """
    ask = tf.function(lambda inputs: teacher(inputs, training=False)[states.LOGITS], reduce_retracing=True)
    progress = Progress(label, num_texts, "texts")
    found: list[np.ndarray] = []
    done = 0
    for batch in batches:
        found.append(ask(states.select(batch, states.ENCODER_INPUTS)).numpy())
        done = min(done + len(found[-1]), num_texts)
        progress.update(done)
    progress.close()
    return np.concatenate(found)[:num_texts].astype(np.float32)


def _with_representation(classifier: keras.Model) -> keras.Model:
    """The same layers; returns the pooled vector `[B, H]` beside the logits `[B, C]`."""
    outputs = {_REPRESENTATION: classifier.get_layer("pooling").output, states.LOGITS: classifier.output}
    return keras.Model(classifier.input, outputs, name=f"{classifier.name}_with_representation")
