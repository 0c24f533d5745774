"""Distillation against keras.distillation and TextBrewer: updates a second at the paper's size.

    pip install -e '.[benchmark]'
    git clone https://github.com/airaria/TextBrewer
    python -m benchmarks.distiller --textbrewer_source=TextBrewer/src --output_file=FILE

All make an update of the same student from the same teacher, the same initial weights and the same batch (teacher
6 x 768, student 3 BiLSTM layers 200 wide, 32 rows of 128 tokens, 20 masked positions), in turn, each in a process of
its own that waits while the others work. A round is an update of each; a ratio is the median over the rounds of the
other's seconds in units of ours.

    ours                 `chemkd_tf.distillation.Distiller`, as run_distill.py trains: embedding + hidden + prediction
    keras_as_documented  `keras.distillation.Distiller`: logits of every position, padding and all; Adam
    keras_same_terms     the same given what is ours: masked positions gathered, trimmed batches, precision, AdamW
    textbrewer           `GeneralDistiller` on PyTorch, fp32, its own loop: logits of every position, then `logits_mask`
    textbrewer_gathered  the same with models that gather the masked positions first, and trimmed batches

What each peer was given, so that it is not held back by us: `keras_distiller` in benchmarks/distiller_models.py and
`general_distiller` in benchmarks/distiller_textbrewer.py. Before anything is timed, the first losses of all that
compute the same one must agree; if they don't, nothing is reported.

CPU seconds are those of all threads of a side: where other programs share the machine they say more than the clock, and
libraries that wait by spinning count their waiting.

With --records the same is done on batches of real sentences, a new one in each round: what padding costs those who
compute it. The last line is the ratios as JSON.
"""

import json
import os
import statistics
import sys
import tempfile

import numpy as np
from absl import app, flags

from benchmarks.bilstm import processor
from benchmarks.distiller_update import SEED, SHAPE_FLAGS, define_shape_flags
from benchmarks.sides import UNCOUNTED_ROUNDS, Side, in_turn, versions
from chemkd_tf.atomic import write_json

FLAGS = flags.FLAGS
PACKAGES = ("tensorflow", "keras", "keras-nlp", "torch", "transformers")
_KERAS = ("keras_as_documented", "keras_same_terms")
_TEXTBREWER = ("textbrewer", "textbrewer_gathered")
_REMEDY = "; for PyTorch and transformers: pip install -e '.[benchmark]'"
# Largest relative difference of the first losses of those that compute the same one; float32, other kernels.
_TOLERANCE = {"float32": 1e-3, "bfloat16": 3e-2}


def define_flags() -> None:
    """Only for the command line."""
    define_shape_flags()
    flags.DEFINE_string("textbrewer_source", "", "Folder that holds the package textbrewer (src of a checkout).")
    flags.DEFINE_string("peer_python", sys.executable, "An interpreter with torch, transformers and tensorboard.")
    flags.DEFINE_list("sides", [*_KERAS, *_TEXTBREWER], "Whom to compare with.")
    flags.DEFINE_string("records", "", "Records to take batches of real sentences from; empty: only full rows.")
    flags.DEFINE_integer("train_batch_size", 32, "Rows of a batch.")
    flags.DEFINE_integer("max_seq_length", 128, "Tokens of a row.")
    flags.DEFINE_integer("max_predictions_per_seq", 20, "Masked positions of a row.")
    flags.DEFINE_integer("num_updates", 9, "Rounds that count, after two that don't.")
    flags.DEFINE_string("output_file", "", "File for the figures.")


def main(arguments: list[str]) -> None:
    """Times, prints and writes."""
    if len(arguments) > 1:
        sys.exit(f"error: unexpected argument {arguments[1]!r}: flags are written --name=value")
    unknown = set(FLAGS.sides) - {*_KERAS, *_TEXTBREWER}
    if unknown:
        sys.exit(f"error: --sides={','.join(FLAGS.sides)}: of {', '.join((*_KERAS, *_TEXTBREWER))}")
    source = os.path.join(FLAGS.textbrewer_source, "textbrewer", "distiller_general.py")
    if set(FLAGS.sides) & set(_TEXTBREWER) and not os.path.isfile(source):
        sys.exit(
            f"error: --textbrewer_source={FLAGS.textbrewer_source or '(empty)'}: no textbrewer/distiller_general.py in "
            "it; name src of a checkout of https://github.com/airaria/TextBrewer, or leave it out: "
            f"--sides={','.join(_KERAS)}"
        )
    results = measure()
    summary = {
        f"steps_per_second_ratio_{name}": round(row["steps_per_second_ratio"], 3)
        for name, row in results["full_rows"].items()
        if name in (*_KERAS, "textbrewer")
    }
    if FLAGS.output_file:
        write_json(FLAGS.output_file, {**conditions(), **results, **summary})
    print(table(results))
    print(json.dumps(summary), flush=True)


def measure() -> dict:
    """Figures of every side on full rows and, with --records, on real sentences."""
    with tempfile.TemporaryDirectory() as folder:
        save_full_batch(folder)
        if FLAGS.records:
            save_real_batches(folder)
        sides = {name: start(name, folder) for name in ("ours", *FLAGS.sides)}
        answers = in_turn(
            "full rows", {name: (side, lambda _: "full") for name, side in sides.items()}, FLAGS.num_updates
        )
        require_equal_losses({name: found[0]["loss"] for name, found in answers.items()}, sides["ours"].ready)
        results = {"full_rows": figures(answers)}
        if FLAGS.records:
            takes = {name: (side, lambda number: f"real_{number}") for name, side in sides.items()}
            answers = in_turn("real sentences", takes, FLAGS.num_updates)
            results["real_sentences"] = figures(answers)
        for side in sides.values():
            side.close()
    return results


def start(name: str, folder: str) -> Side:
    """A process of benchmarks/distiller_update.py."""
    values = {flag: FLAGS[flag].value for flag in SHAPE_FLAGS}
    values["layer_map"] = ",".join(FLAGS.layer_map)
    return Side(
        FLAGS.peer_python if name in _TEXTBREWER else sys.executable, "benchmarks.distiller_update", f"--side={name}",
        f"--folder={folder}", f"--textbrewer_source={FLAGS.textbrewer_source}",
        *[f"--{flag}={value}" for flag, value in values.items()],
        remedy=_REMEDY if name in _TEXTBREWER else "",
    )  # fmt: skip


def save_full_batch(folder: str) -> None:
    """Rows without padding, every masked position taken."""
    rng = np.random.default_rng(SEED)
    shape = rows, tokens = FLAGS.train_batch_size, FLAGS.max_seq_length
    token_ids = rng.integers(min(106, FLAGS.vocab_size // 2), FLAGS.vocab_size, shape)
    positions = rng.permuted(np.tile(np.arange(tokens), (rows, 1)), axis=1)[:, : FLAGS.max_predictions_per_seq]
    positions = np.sort(positions, axis=1)
    whole = {
        "token_ids": token_ids,
        "segment_ids": np.zeros(shape),
        "padding_mask": np.ones(shape),
        "mask_positions": positions,
        "mask_ids": np.take_along_axis(token_ids, positions, 1),
    }
    weights = {"mask_weights": np.ones(positions.shape, "float32"), "example_weight": np.ones(rows, "float32")}
    arrays = {name: array.astype("int32") for name, array in whole.items()} | weights
    np.savez(os.path.join(folder, "full.npz"), **arrays)


def save_real_batches(folder: str) -> None:
    """The first batches of --records, as run_distill.py takes them, padded to the end again."""
    from chemkd_tf import startup

    startup.import_tensorflow_quietly()
    from chemkd_tf.data.datasets import pretraining_batches
    from chemkd_tf.data.manifest import read_manifest

    batches = pretraining_batches(read_manifest(FLAGS.records), FLAGS.train_batch_size, SEED)
    for number, batch in enumerate(batches.take(FLAGS.num_updates + UNCOUNTED_ROUNDS).as_numpy_iterator()):
        arrays = {}
        for name, array in batch.items():
            if array.ndim == 2:
                width = FLAGS.max_predictions_per_seq if name.startswith("mask_") else FLAGS.max_seq_length
                array = np.pad(array, [(0, 0), (0, width - array.shape[1])])
            arrays[name] = array
        np.savez(os.path.join(folder, f"real_{number}.npz"), **arrays)


def require_equal_losses(losses: dict[str, float], ready: dict) -> None:
    """Ends the program unless the first update met one loss on every side that computes the same one.

    keras.distillation reports the Kullback-Leibler divergence, which is the soft cross-entropy less the entropy of the
    teacher's answers; without gathering it is another mean, over every position.
    """
    expected = losses["ours"]
    offsets = {"keras_same_terms": ready["teacher_entropy"], "textbrewer": 0.0, "textbrewer_gathered": 0.0}
    for name, offset in offsets.items():
        if name in losses and abs(losses[name] + offset - expected) > _TOLERANCE[FLAGS.precision] * expected:
            sys.exit(f"error: {name} begins with a loss of {losses[name] + offset:.5f}, ours with {expected:.5f}")


def figures(answers: dict[str, list[dict]]) -> dict:
    """Of each side, the rounds that count; `steps_per_second_ratio`: ours to its, round by round."""
    counted = {name: found[UNCOUNTED_ROUNDS:] for name, found in answers.items()}
    ours = [answer["seconds"] for answer in counted["ours"]]
    result = {}
    for name, found in counted.items():
        seconds = [answer["seconds"] for answer in found]
        result[name] = {
            "steps_per_second": 1 / statistics.median(seconds),
            "median_seconds": statistics.median(seconds),
            "seconds": [round(value, 4) for value in seconds],
            "median_cpu_seconds": statistics.median(answer["cpu_seconds"] for answer in found),
            "mean_tokens": statistics.mean(answer["tokens"] for answer in found),
            "first_loss": answers[name][0]["loss"],
            "peak_memory_bytes": found[-1]["peak_memory_bytes"],
        }
        if name != "ours":
            result[name]["steps_per_second_ratio"] = statistics.median(
                theirs / own for theirs, own in zip(seconds, ours, strict=True)
            )
    return result


def conditions() -> dict:
    """What has to be known to measure it again."""
    names = (
        *SHAPE_FLAGS, "train_batch_size", "max_seq_length", "max_predictions_per_seq", "num_updates",
    )  # fmt: skip
    values = {name: FLAGS[name].value for name in names} | {"layer_map": ",".join(FLAGS.layer_map)}
    command = "python -m benchmarks.distiller " + " ".join(f"--{name}={value}" for name, value in values.items())
    return {
        "command": f"{command} --records={os.path.basename(FLAGS.records)} --textbrewer_source=TextBrewer/src",
        "seed": SEED,
        "cores": len(os.sched_getaffinity(0)),
        "processor": processor(),
        "versions": versions(PACKAGES, FLAGS.peer_python, sys.executable) | {"textbrewer": textbrewer_version()},
        "how": HOW,
    }


HOW = {
    "ours": "Distiller.train_step in a MirroredStrategy of one device, trimmed batches, AdamW, gradient clipped at 1",
    "keras_as_documented": "Distiller.train_on_batch; models of several outputs, one loss for each; the projections "
    "are layers of its student; logits of all positions; LogitsDistillation with KLDivergence(), so that it is taken "
    "of probabilities; student_loss_weight 0; Adam; our fused LSTM kernel",
    "keras_same_terms": "the same with the masked positions gathered, trimmed batches, AdamW, global_clipnorm 1",
    "textbrewer": "GeneralDistiller.train; BertForMaskedLM (SDPA) and torch.nn.LSTM, packed only where there is "
    "padding; hidden_mse behind linear projections, kd_loss ce at temperature 1; logits of all positions, logits_mask; "
    "torch.optim.AdamW, max_grad_norm 1; its log of the losses is kept in memory",
    "textbrewer_gathered": "the same, but both models compute logits at the masked positions alone; trimmed batches",
}


def textbrewer_version() -> str:
    """As its source says; empty without it."""
    path = os.path.join(FLAGS.textbrewer_source, "textbrewer", "__init__.py")
    if not os.path.isfile(path):
        return ""
    with open(path, encoding="utf-8") as file:
        return next((line.split('"')[1] for line in file if line.startswith("__version__")), "")


def table(results: dict) -> str:
    """The figures for a person."""
    lines = []
    for what, found in results.items():
        if what not in ("full_rows", "real_sentences"):
            continue
        title = f"{what.replace('_', ' ')}, {found['ours']['mean_tokens']:,.0f} tokens"
        lines.append(f"{title:<34}{'updates/s':>11}{'s an update':>13}{'CPU s':>8}{'GB':>7}{'ours is faster':>17}")
        for name, row in found.items():
            ratio = row.get("steps_per_second_ratio")
            lines.append(
                f"{name:<34}{row['steps_per_second']:11.3f}{row['median_seconds']:13.2f}"
                f"{row['median_cpu_seconds']:8.2f}"
                f"{row['peak_memory_bytes'] / 1e9:7.1f}" + (f"{ratio:11.2f} times" if ratio else "")
            )
    return "\n".join(lines)


if __name__ == "__main__":
    define_flags()
    app.run(main)
