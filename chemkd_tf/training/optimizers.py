"""AdamW as BERT uses it, exact on any number of replicas."""

import keras
import tensorflow as tf


class LinearWarmupDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Linear from 0 to the peak over `num_warmup_steps`, then linear to 0 at `num_train_steps` (google-research/bert).

    The first update already has 1/num_warmup_steps of the peak, so that no update is wasted.
    """

    def __init__(self, peak_learning_rate: float, num_train_steps: int, num_warmup_steps: int):
        self.peak_learning_rate = peak_learning_rate
        self.num_train_steps = num_train_steps
        self.num_warmup_steps = num_warmup_steps

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """Returns the float32 learning rate of update `step`, counted from 0."""
        step = tf.cast(step, tf.float32)
        warmup = (step + 1.0) / max(self.num_warmup_steps, 1)
        decay = (self.num_train_steps - step) / max(self.num_train_steps - self.num_warmup_steps, 1)
        return self.peak_learning_rate * tf.clip_by_value(tf.minimum(warmup, decay), 0.0, 1.0)

    def get_config(self) -> dict:
        """Returns the constructor's arguments."""
        return {
            "peak_learning_rate": self.peak_learning_rate,
            "num_train_steps": self.num_train_steps,
            "num_warmup_steps": self.num_warmup_steps,
        }


class ReplicaExactAdamW(keras.optimizers.AdamW):
    """AdamW that clips the global norm of the gradient after it was summed over the replicas.

    Keras clips each replica's share before the sum, which makes another update on 2 replicas than on 1. Here the sum is
    made by `reduce_and_clip`, whose result `apply_gradients` takes.

    Keras makes Adam's update of a dozen operations, each of which walks through a whole variable. A student's embedding
    is larger than the caches, so that they are a good part of an update of few sentences; here one operation does it.
    """

    def __init__(self, *args, clip_norm_after_reduction: float = 0.0, **kwargs):
        super().__init__(*args, **kwargs)
        self._clip_norm_after_reduction = clip_norm_after_reduction

    def reduce_and_clip(self, gradients: list[tf.Tensor]) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Adds the replicas' shares of the gradient and limits its length.

        Args:
            gradients: this replica's share, a float32 tensor for each variable.

        Returns:
            The gradients to apply, the same on every replica, and their global norm before it was limited, float32.
        """
        reduced = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        norm = tf.linalg.global_norm(reduced)
        if self._clip_norm_after_reduction:
            reduced, _ = tf.clip_by_global_norm(reduced, self._clip_norm_after_reduction, use_norm=norm)
        return reduced, norm

    def update_step(self, gradient, variable, learning_rate):
        """Keras's formula for one variable, by TensorFlow's operation for it.

        Args:
            gradient: float32 tensor of the variable's shape.
            variable: the variable, a float32 `tf.Variable`; in a strategy, the copy of one replica.
            learning_rate: scalar of the update.
        """
        index = self._get_variable_index(variable)
        step = tf.cast(self.iterations + 1, tf.float32)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=tf.pow(self.beta_1, step),
            beta2_power=tf.pow(self.beta_2, step),
            lr=tf.cast(learning_rate, tf.float32),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )

    def _all_reduce_sum_gradients(self, grads_and_vars):
        return grads_and_vars  # they are the sum already


def make_optimizer(schedule: LinearWarmupDecay, weight_decay: float, clip_norm: float) -> keras.optimizers.Optimizer:
    """Returns AdamW with BERT's constants: beta 0.9 and 0.999, epsilon 1e-6, no decay on biases and LayerNorm.

    Adam's bias correction is kept; google-research/bert left it out (docs/deviations.md).
    """
    optimizer = ReplicaExactAdamW(
        schedule,
        weight_decay=weight_decay,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-6,
        clip_norm_after_reduction=clip_norm,
        name="adamw",
    )
    # Keras searches a variable's name for these; LayerNormalization names its weights gamma and beta.
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer
