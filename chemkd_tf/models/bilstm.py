"""Keras's bidirectional LSTM with a faster loop on CPUs: the same weights, the same numbers.

Keras runs an LSTM as a graph loop of some twenty small operations a step, and more for the gradient. For the widths of
a student the loop itself costs more than its products. TensorFlow's BlockLSTM kernels run the whole sequence in one
operation; what they cost against Keras's loop is measured by `benchmarks/bilstm.py`.
"""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="chemkd_tf")
class Bidirectional(keras.layers.Bidirectional):
    """`keras.layers.Bidirectional` of an LSTM that returns sequences; padding stands at the end.

    Where there is a GPU, or another dtype than float32, it is Keras's own layer (cuDNN). On a CPU each direction is one
    operation; outputs at padding are then not defined: nothing reads them, no output at a real token depends on them.
    It has the name of Keras's class because files of weights call a layer by the name of its class.

    Attributes:
        always_fused: one operation for each direction whatever the machine, for a graph that is traced here and runs
            elsewhere; the operation has kernels for both kinds of device. The graph has no gradient then.
    """

    always_fused = False

    def call(self, sequences, initial_state=None, mask=None, training=None):
        """Maps `[B, T, H]` and a bool mask `[B, T]`, true at real tokens, to `[B, T, 2 * units]`."""
        fused = self.always_fused or _fused_kernel_serves(self.compute_dtype)
        if mask is None or initial_state is not None or not fused:
            return super().call(sequences, initial_state=initial_state, mask=mask, training=training)
        lengths = tf.reduce_sum(tf.cast(mask, tf.int32), axis=1)
        forward = tf.transpose(sequences, [1, 0, 2])
        backward = tf.reverse_sequence(forward, lengths, seq_axis=0, batch_axis=1)
        one_direction = inference_lstm if self.always_fused else fused_lstm
        outputs = [
            one_direction(x, cell.kernel, cell.recurrent_kernel, cell.bias)
            for x, cell in ((forward, self.forward_layer.cell), (backward, self.backward_layer.cell))
        ]
        outputs[1] = tf.reverse_sequence(outputs[1], lengths, seq_axis=0, batch_axis=1)
        return tf.transpose(tf.concat(outputs, axis=2), [1, 0, 2])


def fused_lstm(sequence: tf.Tensor, kernel: tf.Variable, recurrent_kernel: tf.Variable, bias: tf.Variable) -> tf.Tensor:
    """One direction of an LSTM from zero states, as a single operation.

    Args:
        sequence: float32 `[T, B, H]`.
        kernel: `[H, 4 * units]`, gates in Keras's order: input, forget, candidate, output.
        recurrent_kernel: `[units, 4 * units]`.
        bias: `[4 * units]`.

    Returns:
        `[T, B, units]`.
    """
    return _fused_lstm(sequence, *map(tf.convert_to_tensor, (kernel, recurrent_kernel, bias)))


def inference_lstm(
    sequence: tf.Tensor, kernel: tf.Variable, recurrent_kernel: tf.Variable, bias: tf.Variable
) -> tf.Tensor:
    """`fused_lstm` without its gradient, about whose absence whoever loads a SavedModel would be warned."""
    inputs = _inputs_of_the_kernel(sequence, *map(tf.convert_to_tensor, (kernel, recurrent_kernel, bias)))
    return tf.raw_ops.BlockLSTMV2(**inputs, cell_clip=-1.0).h


@tf.custom_gradient
def _fused_lstm(sequence, kernel, recurrent_kernel, bias):
    inputs = _inputs_of_the_kernel(sequence, kernel, recurrent_kernel, bias)
    memory = tf.raw_ops.BlockLSTMV2(**inputs, cell_clip=-1.0)

    def gradient(h_grad):
        # TensorFlow registers the gradient of the older BlockLSTM for this one too; there the gates stand in another
        # order: the right kernel is called by name.
        states = {name: getattr(memory, name) for name in ("i", "cs", "f", "o", "ci", "co", "h")}
        grads = tf.raw_ops.BlockLSTMGradV2(**inputs, **states, cs_grad=tf.zeros_like(memory.cs), h_grad=h_grad)
        kernel_grad, recurrent_grad = tf.split(grads.w_grad, [kernel.shape[0], recurrent_kernel.shape[0]])
        return grads.x_grad, kernel_grad, recurrent_grad, grads.b_grad

    return memory.h, gradient


def _inputs_of_the_kernel(sequence, kernel, recurrent_kernel, bias):
    zero_state = tf.zeros([tf.shape(sequence)[1], recurrent_kernel.shape[0]])
    no_peephole = tf.zeros([recurrent_kernel.shape[0]])
    return {
        "seq_len_max": tf.shape(sequence, tf.int64)[0],
        "x": sequence,
        "cs_prev": zero_state,
        "h_prev": zero_state,
        "w": tf.concat([kernel, recurrent_kernel], axis=0),
        "wci": no_peephole,
        "wcf": no_peephole,
        "wco": no_peephole,
        "b": bias,
        "use_peephole": False,
    }


def _fused_kernel_serves(dtype: str) -> bool:
    """Not bfloat16, which the kernels don't take; and on a GPU cuDNN is faster."""
    return dtype == "float32" and not tf.config.list_physical_devices("GPU")
