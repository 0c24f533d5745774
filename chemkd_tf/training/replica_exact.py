"""The one train step of all stages, and the one place where losses are reduced.

A stage's model returns, for its share of the global batch, a (sum, weight) pair for every loss. Sums and weights are
added up over the replicas and divided once, so that 1, 2 or 8 replicas make the same update. A mean taken on each
replica would weigh tokens by the length of their neighbours and, summed by the optimizer, grow with the replicas.
"""

from typing import NamedTuple

import keras
import tensorflow as tf

from chemkd_tf.training.optimizers import LinearWarmupDecay, make_optimizer
from chemkd_tf.training.phases import Phase


class Terms(NamedTuple):
    """What a model says about its share of a batch; everything in it can be added up over replicas and batches.

    Attributes:
        losses: name to (sum, weight), both float32 `[B]`: per example, the sum of the loss over what it counts (tokens,
            masked positions, the example itself) and how much it counted.
        statistics: name to a float32 tensor of any shape that `summarise` turns into metrics.
    """

    losses: dict[str, tuple[tf.Tensor, tf.Tensor]]
    statistics: dict[str, tf.Tensor]


class Totals(NamedTuple):
    """`Terms` added up: per loss a scalar sum and a scalar weight."""

    sums: dict[str, tf.Tensor]
    weights: dict[str, tf.Tensor]
    statistics: dict[str, tf.Tensor]


class ReplicaExactModel(keras.Model):
    """Base of the three stages' models: `compute_terms`, `compute_weights` and `summarise` are theirs.

    The step is here: forward, backward, sum over the replicas, update; in one go or in micro-batches.

    Args:
        loss_weights: name to weight of the losses that `compute_terms` returns; the objective is their weighted sum.
        random_seed: dropout is a function of this, the update, the replica and the micro-batch.
    """

    def __init__(self, loss_weights: dict[str, float], random_seed: int, **kwargs):
        super().__init__(**kwargs)
        self.loss_weights = dict(loss_weights)
        self.random_seed = random_seed

    def compute_terms(self, batch: dict[str, tf.Tensor], training: bool) -> Terms:
        """Returns the losses and statistics of this replica's share of the batch, or of a part of it.

        While training only the losses of the phase have to be among them.
        """
        raise NotImplementedError

    def compute_training_terms(self, batch: dict[str, tf.Tensor], total_weights: dict[str, tf.Tensor]) -> Terms:
        """`compute_terms` of some rows of a batch for an update.

        Args:
            batch: the rows.
            total_weights: of each loss, in the whole global batch.
        """
        return self.compute_terms(batch, training=True)

    def compute_weights(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns the weights of `compute_terms` while training, from the batch alone: loss name to float32 `[B]`.

        They must be known before the first part of a batch that is computed in several: its gradient is divided by the
        weight of the whole.
        """
        raise NotImplementedError

    def summarise(self, statistics: dict) -> dict:
        """Turns added-up statistics into metrics, by name. Works on tensors and on NumPy arrays alike."""
        return {}

    def compile_for(self, config, num_train_steps: int, num_warmup_steps: int, use_xla: bool = False) -> None:
        """Compiles for a training of a single phase, with all losses; see `compile_for_phases`."""
        self.compile_for_phases(config, [Phase("", num_train_steps, num_warmup_steps, self.loss_weights)], use_xla)

    def compile_for_phases(self, config, phases: list[Phase], use_xla: bool = False) -> None:
        """Prepares for `phases`, and begins the first one.

        Args:
            config: a `TrainingConfig` with `learning_rate`: the optimizer's settings, and in how many micro-batches an
                update is computed.
            phases: of the training, in order.
            use_xla: compile forward and backward pass with XLA; the replicas' shares are added outside of it.
        """
        self.phases = phases
        self._training_config = config
        self._use_xla = use_xla
        self._num_micro_batches = config.gradient_accumulation_steps
        self._dropout_generators = _seed_generators(self)
        self.built = True
        self.begin_phase(0, first_step=0)

    def begin_phase(self, number: int, first_step: int) -> None:
        """Compiles for one of the phases, with an optimizer that has seen nothing.

        Moments that an earlier phase left would belong to another loss; where they are missing (a layer that moves for
        the first time) Adam's bias correction has to count from the same update.

        Args:
            number: of the phase, from 0.
            first_step: updates made before it.
        """
        self.phase = self.phases[number]
        self.loss_weights = dict(self.phase.loss_weights)
        self._first_step = first_step
        self._share_of_function = tf.function(self._share_of, autograph=False, jit_compile=self._use_xla or None)
        self._schedule = LinearWarmupDecay(
            self._training_config.learning_rate, self.phase.num_train_steps, self.phase.num_warmup_steps
        )
        optimizer = make_optimizer(self._schedule, self._training_config.weight_decay, self._training_config.clip_norm)
        optimizer.build(self.trainable_variables)
        self.compile(optimizer=optimizer)

    def learning_rate_of(self, step: int) -> float:
        """Learning rate of update `step`, counted from 1 at the start of the training, which is in this phase."""
        return float(self._schedule(step - 1 - self._first_step))

    def moving_variables(self) -> list[keras.Variable]:
        """The trainable variables that the phase trains, if a loss reaches them."""
        return [variable for variable in self.trainable_variables if self.phase.moves(variable.path)]

    def objective(self, sums: dict, weights: dict) -> tf.Tensor:
        """Weighted sum of the losses: sum over names of loss_weight * sum / weight."""
        return sum(
            self.loss_weights[name] * sums[name] / tf.maximum(weights[name], 1e-9)
            for name in sums
            if self.loss_weights.get(name)
        )

    def train_step(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """One update; called by `fit` in the context of a replica, with that replica's share of the batch."""
        weights = _all_reduce({name: tf.reduce_sum(value) for name, value in self.compute_weights(batch).items()})
        if self._num_micro_batches > 1:
            share = self._accumulated(batch, weights)
        else:
            self._seed_dropout(0)
            share = (self._share_of_function if self._use_xla else self._share_of)(batch, weights)
        # What no loss reaches (a projection whose objective weighs 0) is left alone: no update, no decay.
        reached = [variable for variable in self.moving_variables() if variable.path in share.gradients]
        gradients, gradient_norm = self.optimizer.reduce_and_clip(
            [share.gradients[variable.path] for variable in reached]
        )
        self.optimizer.apply_gradients(zip(gradients, reached, strict=True))
        totals = Totals(_all_reduce(share.sums), weights, _all_reduce(share.statistics))
        return {**self.metrics_of(totals), **_all_reduce(_counted(batch)), "gradient_norm": gradient_norm}

    def _share_of(self, batch: dict[str, tf.Tensor], total_weights: dict[str, tf.Tensor]) -> "_Share":
        """Forward and backward pass of some rows, whose losses are divided by the weights of the whole global batch."""
        with tf.GradientTape() as tape:
            terms = self.compute_training_terms(batch, total_weights)
            sums, _ = add_up_examples(terms)
            objective = self.objective(sums, total_weights)
        variables = self.moving_variables()
        gradients = {
            variable.path: tf.ensure_shape(tf.convert_to_tensor(gradient), variable.shape)
            for gradient, variable in zip(tape.gradient(objective, variables), variables, strict=True)
            if gradient is not None
        }
        return _Share(gradients, sums, terms.statistics)

    def _accumulated(self, batch: dict[str, tf.Tensor], total_weights: dict[str, tf.Tensor]) -> "_Share":
        """`_share_of` the batch, in micro-batches one after the other: what one of them needs in memory is enough.

        Micro-batch i of N has rows i, i + N, i + 2N, ... Nothing but the sums goes from one to the next, so TensorFlow
        would run several at a time if it was allowed to (`parallel_iterations`).
        """

        def add(number, total):
            self._seed_dropout(number)
            rows = {name: value[number :: self._num_micro_batches] for name, value in batch.items()}
            share = self._share_of_function(rows, total_weights)
            return number + 1, tf.nest.map_structure(tf.add, total, share)

        some_rows = {name: tf.TensorSpec([None, *value.shape[1:]], value.dtype) for name, value in batch.items()}
        traced = self._share_of_function.get_concrete_function(some_rows, total_weights)
        zeros = tf.nest.map_structure(lambda part: tf.zeros(part.shape, part.dtype), traced.structured_outputs)
        _, total = tf.while_loop(
            lambda number, _: number < self._num_micro_batches, add, (0, zeros), parallel_iterations=1
        )
        return total

    def compute_totals(self, batch: dict[str, tf.Tensor]) -> Totals:
        """`Terms` of a batch in inference mode, added up over its examples and the replicas."""
        terms = self.compute_terms(batch, training=False)
        sums, weights = add_up_examples(terms)
        return Totals(_all_reduce(sums), _all_reduce(weights), _all_reduce(terms.statistics))

    def metrics_of(self, totals: Totals) -> dict:
        """Every loss by name, their weighted sum as `loss`, and the stage's own metrics."""
        losses = {name: totals.sums[name] / tf.maximum(totals.weights[name], 1e-9) for name in totals.sums}
        return {
            "loss": self.objective(totals.sums, totals.weights),
            **losses,
            **self.summarise(totals.statistics),
        }

    def _seed_dropout(self, micro_batch: tf.Tensor | int) -> None:
        """Sets every dropout's generator from (seed, generator, update, micro-batch, replica): no state to restore."""
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        step = self._first_step + tf.cast(self.optimizer.iterations.value, tf.int64)
        number = step * self._num_micro_batches + tf.cast(micro_batch, tf.int64)
        for index, generator in enumerate(self._dropout_generators):
            first = (self.random_seed * 1_000_003 + index * 7_919) % (2**31)
            state = tf.stack([first + tf.cast(replica, tf.int64) * 104_729, number * 256])
            generator.state.assign(tf.cast(state, generator.state.dtype))


class _Share(NamedTuple):
    """What some rows add to an update.

    Attributes:
        gradients: by the variable's path; those that no loss reaches are missing.
        sums: of each loss.
        statistics: see `Terms`.
    """

    gradients: dict[str, tf.Tensor]
    sums: dict[str, tf.Tensor]
    statistics: dict[str, tf.Tensor]


def _seed_generators(model: keras.Model) -> list[keras.random.SeedGenerator]:
    """Every seed generator of `model`, in the order of its layers."""
    generators = []
    for layer in model._flatten_layers():
        for generator in getattr(layer, "_seed_generators", []):
            if all(generator is not known for known in generators):
                generators.append(generator)
    return generators


def _counted(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """How many examples and tokens an update saw; rows that only fill a batch up are not counted, nor is padding."""
    if "example_weight" not in batch:
        return {}
    real = tf.cast(batch["example_weight"] > 0, tf.float32)
    lengths = tf.reduce_sum(tf.cast(batch["padding_mask"], tf.float32), axis=1)
    return {"examples": tf.reduce_sum(real), "tokens": tf.reduce_sum(real * lengths)}


def add_up_examples(terms: Terms) -> tuple[dict, dict]:
    """Returns sums and weights of each loss over the examples, scalars by the loss's name."""
    sums = {name: tf.reduce_sum(tf.cast(pair[0], tf.float32)) for name, pair in terms.losses.items()}
    weights = {name: tf.reduce_sum(tf.cast(pair[1], tf.float32)) for name, pair in terms.losses.items()}
    return sums, weights


def _all_reduce(tensors: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Adds up a dict of tensors over the replicas, in one collective call."""
    if not tensors:
        return {}
    reduced = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, list(tensors.values()))
    return dict(zip(tensors, reduced, strict=True))
