"""The distiller: one forward pass of the frozen teacher, one of the student, the objectives' losses (Algorithm 1)."""

import keras
import tensorflow as tf

from chemkd_tf.distillation.frozen_teacher import frozen_teacher
from chemkd_tf.distillation.objectives import Objective
from chemkd_tf.models import states
from chemkd_tf.training.replica_exact import ReplicaExactModel, Terms

_MODEL_INPUTS = (*states.ENCODER_INPUTS, states.MASK_POSITIONS)


class Distiller(ReplicaExactModel):
    """Trains the student and the objectives' projections; the teacher never moves and never drops out.

    Its `train_step` is that of `ReplicaExactModel`.

    Args:
        teacher: masked-LM model that returns states.
        student: likewise.
        objectives: (objective, weight) pairs.
        random_seed: of the student's dropout.
        teacher_precision: see `frozen_teacher`.

    Raises:
        InputError: an objective needs a state that a model doesn't return.
    """

    def __init__(
        self,
        teacher: keras.Model,
        student: keras.Model,
        objectives: list[tuple[Objective, float]],
        random_seed: int,
        teacher_precision: str = "float32",
    ):
        super().__init__(
            loss_weights={objective.name: weight for objective, weight in objectives},
            random_seed=random_seed,
            name="distiller",
        )
        for objective, _ in objectives:
            objective.require_states(student, teacher)
        teacher.trainable = False
        self.teacher = teacher
        self.student = student
        self.objectives = [objective for objective, _ in objectives]
        needed = [name for objective in self.objectives for name in objective.teacher_states]
        self._ask_teacher = frozen_teacher(teacher, needed, teacher_precision)

    def compute_terms(self, batch: dict[str, tf.Tensor], training: bool) -> Terms:
        """The objectives' losses and statistics; an objective of weight 0 is measured but not trained."""
        inputs = states.select(batch, _MODEL_INPUTS)
        teacher = self._ask_teacher(inputs)
        student = self.student(inputs, training=training)
        losses, statistics = {}, {}
        for objective in self.objectives:
            outcome = objective(student, teacher, batch)
            losses[objective.name] = outcome.loss
            statistics.update({f"{objective.name}/{key}": value for key, value in outcome.statistics.items()})
        return Terms(losses, statistics)

    def compute_weights(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """What each objective counts in each example."""
        return {objective.name: objective.compute_weights(batch) for objective in self.objectives}

    def summarise(self, statistics: dict) -> dict:
        """Every objective's metrics."""
        metrics = {}
        for objective in self.objectives:
            own = objective.name + "/"
            metrics.update(
                objective.summarise({k.removeprefix(own): v for k, v in statistics.items() if k.startswith(own)})
            )
        return metrics
