"""The distiller: one forward pass of the frozen teacher, one of the student, the objectives' losses (Algorithm 1)."""

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from chemkd_tf.distillation.batches import CORPUS, TRANSFER_WEIGHT, View
from chemkd_tf.distillation.frozen_teacher import frozen_teacher
from chemkd_tf.distillation.objectives import Objective
from chemkd_tf.errors import InputError
from chemkd_tf.models import states
from chemkd_tf.training.replica_exact import ReplicaExactModel, Terms, add_up_examples

States = dict[str, tf.Tensor]


class Distiller(ReplicaExactModel):
    """Trains the student and the objectives' projections; the teacher never moves and never drops out.

    Its `train_step` is that of `ReplicaExactModel`. A phase that is `perturbed` takes its updates as LRC-BERT does (Fu
    et al. 2021, arXiv:2012.07335): the gradient of the loss with respect to the student's embedding state is added to
    that state, what lies above is computed again, and the second loss is what the student learns from.

    Args:
        teacher: model that returns states.
        student: likewise.
        objectives: (objective, weight) pairs.
        random_seed: of the student's dropout.
        view: how a batch and the models' outputs are read: `batches.CORPUS`, or `batches.task` of a task.
        student_parts: the student cut at its embedding (`embedding_split.split_at_embedding`), for perturbed phases.
        teacher_precision: see `frozen_teacher`.

    Attributes:
        teacher_states: names of those that the objectives read.

    Raises:
        InputError: an objective needs a state that a model doesn't return, or the whole batch where it is computed in
            parts.
    """

    def __init__(
        self,
        teacher: keras.Model,
        student: keras.Model,
        objectives: Sequence[tuple[Objective, float]],
        random_seed: int,
        view: View = CORPUS,
        student_parts: tuple[keras.Model, keras.Model] | None = None,
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
        self.teacher_states = tuple(sorted({name for objective, _ in objectives for name in objective.teacher_states}))
        self._ask_teacher = frozen_teacher(teacher, self.teacher_states, teacher_precision)
        self._view = view
        self._student_parts = student_parts
        # An objective that compares examples has to see them all; the others need those alone that are taught.
        self._picks_taught_rows = view.is_task and not any(each.compares_examples for each in self.objectives)

    def compile_for_phases(self, config, phases, use_xla=False):
        """See `ReplicaExactModel`.

        Raises:
            InputError: micro-batches, with an objective that compares examples.
        """
        for objective in self.objectives:
            if objective.compares_examples and config.gradient_accumulation_steps > 1:
                raise InputError(
                    f"--gradient_accumulation_steps={config.gradient_accumulation_steps}: {objective.name} compares "
                    "the samples of a batch with each other, so it can't be computed in parts; give a smaller "
                    "--train_batch_size or more replicas"
                )
        super().compile_for_phases(config, phases, use_xla)

    def compute_terms(self, batch: dict[str, tf.Tensor], training: bool) -> Terms:
        """The objectives' losses and statistics; in training those of the phase.

        An objective of weight 0 is measured but not trained.
        """
        return self._terms(batch, training, lambda inputs: self.student(inputs, training=training))

    def compute_training_terms(self, batch: dict[str, tf.Tensor], total_weights: dict[str, tf.Tensor]) -> Terms:
        """`compute_terms`, at perturbed embeddings in a phase that asks for it."""
        if not self.phase.perturbed:
            return super().compute_training_terms(batch, total_weights)
        to_embedding, from_embedding = self._student_parts
        inputs = self._inputs_of(batch)
        taught = self._teacher_of(batch)
        embedding = to_embedding(inputs, training=True)

        def student_at(state: tf.Tensor) -> Terms:
            return self._terms(
                batch,
                True,
                lambda given: from_embedding({**given, states.EMBEDDING: state}, training=True),
                taught,
            )

        # Each row's gradient is of the whole batch's loss, as the update's is: it doesn't depend on the replicas.
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(embedding)
            sums, _ = add_up_examples(student_at(embedding))
            loss = self.objective(sums, total_weights)
        return student_at(embedding + tf.stop_gradient(tape.gradient(loss, embedding)))

    def compute_weights(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """What each objective of the phase counts in each example."""
        batch = self._view.batch(batch)
        return {objective.name: objective.compute_weights(batch) for objective in self._objectives_of(training=True)}

    def summarise(self, statistics: dict) -> dict:
        """The metrics of every objective that counted something."""
        metrics = {}
        for objective in self.objectives:
            own = objective.name + "/"
            found = {key.removeprefix(own): value for key, value in statistics.items() if key.startswith(own)}
            if found:
                metrics.update(objective.summarise(found))
        return metrics

    def _terms(
        self,
        batch: dict[str, tf.Tensor],
        training: bool,
        student_of: Callable[[dict[str, tf.Tensor]], States],
        taught: tuple[States, tf.Tensor | None] | None = None,
    ) -> Terms:
        """The terms of a batch with the student's states that `student_of` makes of its inputs.

        Args:
            batch: see the batch contract.
            training: only the objectives of the phase.
            student_of: inputs to states.
            taught: `_teacher_of` the batch, where it is known already.
        """
        teacher, rows = taught or self._teacher_of(batch)
        student = self._view.outputs(student_of(self._inputs_of(batch)))
        batch = self._view.batch(batch)
        student_of_rows, taught_batch = student, batch
        if rows is not None:
            needed = {name for objective in self.objectives for name in objective.student_states}
            student_of_rows = {name: tf.gather(student[name], rows) for name in needed}
            taught_batch = {name: tf.gather(value, rows) for name, value in batch.items()}
        losses, statistics = {}, {}
        for objective in self._objectives_of(training):
            learns_from_teacher = bool(objective.teacher_states)
            outcome = objective(
                student_of_rows if learns_from_teacher else student,
                teacher,
                taught_batch if learns_from_teacher else batch,
            )
            losses[objective.name] = outcome.loss
            statistics.update({f"{objective.name}/{key}": value for key, value in outcome.statistics.items()})
        return Terms(losses, statistics)

    def _teacher_of(self, batch: dict[str, tf.Tensor]) -> tuple[States, tf.Tensor | None]:
        """The teacher's states for the rows that are taught, and which rows these are (None: all of them).

        Where the batch holds all that is needed, asked for beforehand (`teacher_cache`), the teacher isn't run.
        """
        rows = None
        if self._picks_taught_rows:
            rows = tf.where(self._view.batch(batch)[TRANSFER_WEIGHT] > 0)[:, 0]
            batch = {name: tf.gather(value, rows) for name, value in batch.items()}
        if all(states.taught(name) in batch for name in self.teacher_states):
            outputs = {name: batch[states.taught(name)] for name in self.teacher_states}
        else:
            outputs = self._ask_teacher(self._inputs_of(batch))
        return self._view.outputs(outputs), rows

    def _inputs_of(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return states.select(batch, tuple(self.student.input))

    def _objectives_of(self, training: bool) -> list[Objective]:
        if not training:
            return list(self.objectives)
        return [objective for objective in self.objectives if objective.name in self.loss_weights]
