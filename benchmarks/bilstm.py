"""Our bidirectional LSTM against Keras's, same weights, same batches, same process.

    python -m benchmarks.bilstm --output_json=docs/results/bilstm.json

Prints, per shape, how long Keras's layer takes in units of ours (above 1: ours is faster), for inference and for
inference with the gradient. Both are timed in turn, the best of each counts.
"""

import os
import platform
import sys
import time
from collections.abc import Callable

from absl import app, flags

from chemkd_tf import startup
from chemkd_tf.atomic import write_json

FLAGS = flags.FLAGS
# (batch, tokens, width of the input, units per direction): one text to be served, then batches of training.
SHAPES = ((1, 32, 200, 100), (1, 128, 200, 100), (16, 64, 128, 64), (48, 96, 128, 64), (32, 128, 200, 100))


def define_flags() -> None:
    """Only for the command line."""
    flags.DEFINE_string("output_json", "", "File for the figures.")
    flags.DEFINE_integer("repetitions", 15, "Timings of each; the best counts.")


def main(arguments: list[str]) -> None:
    """Times, prints and writes."""
    if len(arguments) > 1:
        sys.exit(f"error: unexpected argument {arguments[1]!r}: flags are written --name=value")
    startup.import_tensorflow_quietly()
    startup.run_first_operation_quietly()
    import keras
    import tensorflow as tf

    rows = []
    for batch, tokens, width, units in SHAPES:
        inputs = tf.random.stateless_normal([batch, tokens, width], seed=[1, 2])
        lengths = tf.random.stateless_uniform([batch], [1, 2], tokens // 2, tokens + 1, tf.int32)
        mask = tf.sequence_mask(lengths, tokens)
        steps = steps_of(inputs, mask, units)
        row = {"batch": batch, "tokens": tokens, "width": width, "units_per_direction": units}
        for what in ("inference", "with_gradient"):
            ours, theirs = best_of_turns([steps["ours", what], steps["keras", what]], FLAGS.repetitions)
            row[what] = {"ours_ms": 1000 * ours, "keras_ms": 1000 * theirs, "keras_in_ours": theirs / ours}
        rows.append(row)
        print(
            f"{batch} x {tokens} tokens, {width} wide, {units} units per direction: Keras takes "
            f"{row['inference']['keras_in_ours']:.2f} times as long, {row['with_gradient']['keras_in_ours']:.2f} times "
            "with the gradient",
            flush=True,
        )
    if FLAGS.output_json:
        write_json(
            FLAGS.output_json,
            {
                "command": f"python -m benchmarks.bilstm --repetitions={FLAGS.repetitions}",
                "threads": os.environ.get("TF_NUM_INTRAOP_THREADS", "one per core"),
                "cores": os.cpu_count(),
                "processor": processor(),
                "versions": {"tensorflow": tf.__version__, "keras": keras.__version__},
                "results": rows,
            },
        )


def steps_of(inputs, mask, units: int) -> dict[tuple[str, str], Callable]:
    """The four functions that are timed, by (whose, what)."""
    import keras
    import tensorflow as tf

    from chemkd_tf.models import bilstm

    layers = {
        "ours": bilstm.Bidirectional(keras.layers.LSTM(units, return_sequences=True)),
        "keras": keras.layers.Bidirectional(keras.layers.LSTM(units, return_sequences=True)),
    }
    for layer in layers.values():
        layer.build(inputs.shape)
    layers["keras"].set_weights(layers["ours"].get_weights())
    signature = [tf.TensorSpec([*inputs.shape[:1], None, inputs.shape[2]])]  # the length is known at run time only

    def timed(layer, gradient: bool) -> Callable:
        weights = [weight.value for weight in layer.trainable_weights]

        @tf.function(input_signature=signature)
        def step(x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                outputs = layer(x, mask=mask)
                total = tf.reduce_sum(tf.square(outputs) * tf.cast(mask, tf.float32)[:, :, None])
            return tape.gradient(total, [x, *weights]) if gradient else total

        return lambda: step(inputs)

    steps = {
        (whose, what): timed(layer, what == "with_gradient")
        for whose, layer in layers.items()
        for what in ("inference", "with_gradient")
    }
    tf.debugging.assert_near(steps["ours", "inference"](), steps["keras", "inference"](), rtol=1e-4)
    return steps


def best_of_turns(steps: list[Callable], repetitions: int) -> list[float]:
    """Best time of each in seconds; they take turns, so that a busy moment hits all alike."""
    best = [float("inf")] * len(steps)
    for repetition in range(repetitions + 2):
        for index, step in enumerate(steps):
            started = time.perf_counter()
            result = step()
            (result[0] if isinstance(result, list) else result).numpy()
            if repetition >= 2:  # the first trace and warm up
                best[index] = min(best[index], time.perf_counter() - started)
    return best


def processor() -> str:
    """What the system calls the processor, and the vector instructions that matter here."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            fields = dict(line.strip().split("\t: ", 1) for line in file if "\t: " in line)
            fields = {name.strip(): value for name, value in fields.items()}
    except OSError:
        return platform.processor() or platform.machine()
    vectors = [name for name in ("avx2", "avx512f", "avx512_vnni") if name in fields.get("flags", "").split()]
    return ", ".join([fields.get("model name", platform.machine()), *vectors])


if __name__ == "__main__":
    define_flags()
    app.run(main)
