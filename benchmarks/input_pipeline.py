"""How long the input pipeline takes for a batch of each kind of records, against the update that eats the batch.

    python -m benchmarks.input_pipeline --output_file=docs/results/input_pipeline.json

The update is the cheapest that a batch of 32 x 128 tokens can meet here: forward and backward pass of the paper's
student with its masked-LM head, without a teacher and without an optimizer. It is timed with a batch that is there
already and with the next one of each pipeline, in turn. Texts are as long as a sample or longer, so that no padding
makes a batch cheaper. The last line is the figures as JSON.
"""

import dataclasses
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

from absl import app, flags

from benchmarks.bilstm import best_of_turns, processor
from chemkd_tf import startup
from chemkd_tf.atomic import write_json
from chemkd_tf.data.manifest import Manifest, RecordFormat

FLAGS = flags.FLAGS
BATCH, TOKENS, PREDICTIONS, VOCABULARY_SIZE = 32, 128, 20, 21128
NUM_SHARDS = 4
LONGEST = 200  # tokens of a text; the shortest fills a sample
WORD_LENGTHS = (1, 1, 1, 2, 2, 3)  # of Chinese words in characters, roughly
SEED = 12345
DYNAMIC = RecordFormat(
    max_seq_length=TOKENS,
    max_predictions_per_seq=PREDICTIONS,
    vocabulary_sha256="",
    masking="dynamic",
    special_ids=(("end", 102), ("mask", 103), ("pad", 0), ("start", 101)),
    vocabulary_size=VOCABULARY_SIZE,
)
STATIC = RecordFormat(max_seq_length=TOKENS, max_predictions_per_seq=PREDICTIONS, vocabulary_sha256="")
FORMATS = {
    "static, padded": STATIC,
    "static, unpadded": dataclasses.replace(STATIC, padded=False),
    "dynamic": DYNAMIC,
    "dynamic, whole words": dataclasses.replace(DYNAMIC, whole_words=True),
}


def define_flags() -> None:
    """Only for the command line."""
    flags.DEFINE_string("output_file", "", "File for the figures.")
    flags.DEFINE_integer("num_records", 2048, "Records of each kind: an epoch of the pipeline.")
    flags.DEFINE_integer("num_batches", 400, "Batches that each pipeline is timed over.")
    flags.DEFINE_integer("num_updates", 8, "Turns of the update, alone and fed by each pipeline; the best counts.")


def main(arguments: list[str]) -> None:
    """Times, prints and writes."""
    if len(arguments) > 1:
        sys.exit(f"error: unexpected argument {arguments[1]!r}: flags are written --name=value")
    startup.import_tensorflow_quietly()
    startup.run_first_operation_quietly()
    import keras
    import tensorflow as tf

    from chemkd_tf.data.datasets import pretraining_batches

    results = {}
    pipelines = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind, record_format in FORMATS.items():
            manifest = write_records(os.path.join(folder, kind), record_format, FLAGS.num_records)
            pipelines[kind] = iter(pretraining_batches(manifest, BATCH, SEED))
            results[kind] = {
                "bytes_per_record": sum(map(os.path.getsize, manifest.shards)) / manifest.num_samples,
                **time_of_batches(pipelines[kind], FLAGS.num_batches),
            }
        update = student_update()
        batch = next(pipelines["static, padded"])
        fed = [lambda batches=batches: update(next(batches)) for batches in pipelines.values()]
        alone, *fed_times = best_of_turns([lambda: update(batch), *fed], FLAGS.num_updates)
    for row, seconds in zip(results.values(), fed_times, strict=True):
        row |= {"fed_update_ms": 1000 * seconds, "batches_per_update": 1000 * alone / row["batch_ms"]}
    figures = {
        "command": "python -m benchmarks.input_pipeline "
        + " ".join(f"--{name}={FLAGS[name].value}" for name in ("num_records", "num_batches", "num_updates")),
        "seed": SEED,
        "batch": [BATCH, TOKENS],
        "threads": os.environ.get("TF_NUM_INTRAOP_THREADS", "one per core"),
        "cores": len(os.sched_getaffinity(0)),
        "processor": processor(),
        "versions": {"tensorflow": tf.__version__, "keras": keras.__version__},
        "update_ms": 1000 * alone,
        "results": results,
    }
    if FLAGS.output_file:
        write_json(FLAGS.output_file, figures)
    print(f"{table(figures)}\n{json.dumps(figures)}", flush=True)


def table(figures: dict) -> str:
    """The figures for a person."""
    heads = (
        f"{'records':<22}{'bytes each':>11}{'batch ms':>10}{'CPU ms':>8}{'update fed ms':>15}{'batches an update':>19}"
    )
    lines = [
        f"{kind:<22}{row['bytes_per_record']:11.0f}{row['batch_ms']:10.2f}{row['batch_cpu_ms']:8.2f}"
        f"{row['fed_update_ms']:15.1f}{row['batches_per_update']:19.0f}"
        for kind, row in figures["results"].items()
    ]
    return "\n".join([heads, *lines, f"{'the update alone':<51}{figures['update_ms']:15.1f}"])


def student_update() -> Callable:
    """Forward and backward pass of the paper's student under the masked-LM loss."""
    import tensorflow as tf

    from chemkd_tf.models import states
    from chemkd_tf.models.architecture import StudentArchitecture
    from chemkd_tf.models.heads import masked_lm_model
    from chemkd_tf.models.student import build_student
    from chemkd_tf.training import losses

    model = masked_lm_model(build_student(StudentArchitecture(vocabulary_size=VOCABULARY_SIZE)))
    weights = [weight.value for weight in model.trainable_weights]

    @tf.function(reduce_retracing=True)
    def update(batch):
        with tf.GradientTape() as tape:
            inputs = states.select(batch, (*states.ENCODER_INPUTS, states.MASK_POSITIONS))
            logits = model(inputs, training=True)[states.LOGITS]
            total, weight = losses.cross_entropy(batch["mask_ids"], logits, batch["mask_weights"])
            loss = tf.reduce_sum(total) / tf.reduce_sum(weight)
        gradients = tape.gradient(loss, weights)
        return tf.add_n([tf.reduce_sum(tf.convert_to_tensor(gradient)) for gradient in gradients])

    return update


def time_of_batches(batches: Iterator, count: int) -> dict[str, float]:
    """Wall-clock time and all threads' CPU time of a batch in milliseconds, when nothing consumes them."""
    for _ in range(20):  # the first fill the shuffle buffer and what is made ahead
        next(batches)
    started, started_cpu = time.perf_counter(), time.process_time()
    for _ in range(count):
        next(batches)
    wall, cpu = time.perf_counter() - started, time.process_time() - started_cpu
    return {"batch_ms": 1000 * wall / count, "batch_cpu_ms": 1000 * cpu / count}


def write_records(prefix: str, record_format: RecordFormat, count: int) -> Manifest:
    """Writes `count` records of random texts; masks of the static kinds are drawn by the dynamic path."""
    import tensorflow as tf

    shards = tuple(f"{prefix}-{shard}" for shard in range(NUM_SHARDS))
    for shard, path in enumerate(shards):
        with tf.io.TFRecordWriter(path) as writer:
            for features in records_of(shard, count // NUM_SHARDS, record_format):
                feature = {
                    name: tf.train.Feature(float_list=tf.train.FloatList(value=values.tolist()))
                    if name == "masked_lm_weights"
                    else tf.train.Feature(int64_list=tf.train.Int64List(value=values.tolist()))
                    for name, values in features.items()
                }
                example = tf.train.Example(features=tf.train.Features(feature=feature))
                writer.write(example.SerializeToString())
    return Manifest(shards, (count // NUM_SHARDS,) * NUM_SHARDS, record_format)


def records_of(shard: int, count: int, record_format: RecordFormat) -> Iterator[dict]:
    """The features of one shard's records."""
    import numpy as np
    import tensorflow as tf

    from chemkd_tf.data.dynamic_masking import cut_and_mask
    from chemkd_tf.data.parsing import SCHEMA

    rng = np.random.default_rng([SEED, shard])
    words = [np.empty(0, int)] * count
    for row in range(count):
        drawn = rng.choice(WORD_LENGTHS, LONGEST)
        words[row] = drawn[: np.searchsorted(np.cumsum(drawn), rng.integers(TOKENS - 2, LONGEST)) + 1]
    texts = [rng.integers(106, VOCABULARY_SIZE, lengths.sum()) for lengths in words]
    if record_format.masking == "dynamic":
        for text, lengths in zip(texts, words, strict=True):
            yield {"input_ids": text, **({"word_lengths": lengths} if record_format.whole_words else {})}
        return
    batch = cut_and_mask(tf.ragged.constant(texts, tf.int32, 1), None, DYNAMIC, tf.constant([SEED, shard]))
    columns = {stored: batch[name].numpy() for stored, name, _, _ in SCHEMA}
    predictions = columns["masked_lm_weights"].sum(axis=1).astype(int)
    for row in range(count):
        features = {name: values[row] for name, values in columns.items()}
        if not record_format.padded:
            features = {
                "input_ids": features["input_ids"][: features["input_mask"].sum()],
                "masked_lm_positions": features["masked_lm_positions"][: predictions[row]],
                "masked_lm_ids": features["masked_lm_ids"][: predictions[row]],
            }
        yield features


if __name__ == "__main__":
    define_flags()
    app.run(main)
