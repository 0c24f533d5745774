"""Pretraining against Hugging Face transformers on PyTorch, and what grouping by length gains on real text.

    pip install -e '.[benchmark]'
    python -m benchmarks.pretraining --corpus=patents.txt,adverts.txt --vocab_file=vocab.txt --output_file=FILE

1. Both libraries make the same update (6 x 768, 32 rows of 128 tokens, 20 masked positions) in turn, each in a process
   of its own that waits while the other works. The median counts.
2. On each corpus, in sentence mode: real tokens per second of batches padded to 128 tokens, as google-research/bert has
   them, and of `--group_by_length --train_batch_tokens`, in turn. Perfect packing would give 128 / (mean number of real
   tokens) times the first; the efficiency is the share of that which is reached.

The last line is the figures as JSON.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile

from absl import app, flags

from benchmarks.bilstm import processor
from benchmarks.sides import UNCOUNTED_ROUNDS, Side, in_turn, versions
from chemkd_tf.atomic import write_json

FLAGS = flags.FLAGS
# Of our side and theirs alike, by name of the package.
PACKAGES = ("tensorflow", "keras", "keras-nlp", "torch", "transformers")


def define_flags() -> None:
    """Only for the command line."""
    flags.DEFINE_list("corpus", [], "Text files, one sentence a line; empty: only the first part.")
    flags.DEFINE_string("vocab_file", "", "BERT vocabulary for --corpus.")
    flags.DEFINE_string("peer_python", sys.executable, "An interpreter with torch and transformers; empty: no peer.")
    flags.DEFINE_string("precision", "float32", "float32 or bfloat16.")
    flags.DEFINE_integer("num_layers", 6, "Layers.")
    flags.DEFINE_integer("hidden_size", 768, "Width.")
    flags.DEFINE_integer("train_batch_size", 32, "Rows of a full batch.")
    flags.DEFINE_integer("num_updates", 7, "Timed updates of each side and kind, after two that are not counted.")
    flags.DEFINE_string("output_file", "", "File for the figures.")


def start(python: str, name: str, *arguments: str) -> Side:
    """A process of benchmarks/pretraining_update.py."""
    shape = [f"--{flag}={FLAGS[flag].value}" for flag in ("precision", "num_layers", "hidden_size", "train_batch_size")]
    remedy = "; for PyTorch and transformers: pip install -e '.[benchmark]'"
    return Side(python, "benchmarks.pretraining_update", f"--side={name}", *shape, *arguments, remedy=remedy)


def updates(what: str, takes: dict[str, tuple[Side, str]]) -> dict[str, list[dict]]:
    """Updates in turn, each kind always of one data set."""
    found = in_turn(
        what, {name: (side, lambda _, b=batch: b) for name, (side, batch) in takes.items()}, FLAGS.num_updates
    )
    return {name: rows[UNCOUNTED_ROUNDS:] for name, rows in found.items()}


def against_peer() -> dict:
    """Part 1."""
    sides = {"ours": start(sys.executable, "ours"), "hugging_face": start(FLAGS.peer_python, "hugging_face")}
    answers = updates("updates", {name: (side, "full") for name, side in sides.items()})
    result = {name: figures(found) for name, found in answers.items()}
    for side in sides.values():
        side.close()
    result["tokens_per_second_ratio"] = (
        result["ours"]["tokens_per_second"] / result["hugging_face"]["tokens_per_second"]
    )
    return result


def figures(answers: list[dict]) -> dict:
    """Of one kind of updates."""
    return {
        "tokens_per_second": sum(answer["tokens"] for answer in answers) / sum(answer["seconds"] for answer in answers),
        "median_seconds": statistics.median(answer["seconds"] for answer in answers),
        "mean_tokens": statistics.mean(answer["tokens"] for answer in answers),
        "seconds": [round(answer["seconds"], 4) for answer in answers],
        "first_loss": answers[0]["loss"],
        "peak_memory_bytes": answers[-1]["peak_memory_bytes"],
    }


def packing(folder: str) -> dict:
    """Part 2."""
    prefixes = {}
    for path in FLAGS.corpus:
        name = os.path.splitext(os.path.basename(path))[0]
        prefixes[name] = os.path.join(folder, name)
        subprocess.run(
            [sys.executable, "-m", "data_prep.create_pretraining_data", f"--input_file={path}", "--dupe_factor=1",
             f"--vocab_file={FLAGS.vocab_file}", f"--output_file={prefixes[name]}", "--max_seq_length=128"],
            check=True,
        )  # fmt: skip
    side = start(sys.executable, "ours", f"--records={','.join(prefixes.values())}")
    result = {}
    for name, prefix in prefixes.items():
        answers = updates(name, {kind: (side, f"{prefix}:{kind}") for kind in ("padded", "grouped")})
        found = {kind: figures(rows) for kind, rows in answers.items()}
        rows = FLAGS.train_batch_size
        perfect = 128 / (found["padded"]["mean_tokens"] / rows)
        gain = found["grouped"]["tokens_per_second"] / found["padded"]["tokens_per_second"]
        result[name] = {**found, "gain": gain, "perfect_gain": perfect, "packing_efficiency": gain / perfect}
    side.close()
    return result


def main(arguments: list[str]) -> None:
    """Times, prints and writes."""
    if len(arguments) > 1:
        sys.exit(f"error: unexpected argument {arguments[1]!r}: flags are written --name=value")
    if FLAGS.corpus and not FLAGS.vocab_file:
        sys.exit("error: --vocab_file is empty: name a BERT vocabulary for --corpus")
    results = {"against_hugging_face": against_peer()} if FLAGS.peer_python else {}
    if FLAGS.corpus:
        with tempfile.TemporaryDirectory() as folder:
            results["packing"] = packing(folder)
    summary = {}
    if "against_hugging_face" in results:
        summary["tokens_per_second_ratio"] = round(results["against_hugging_face"]["tokens_per_second_ratio"], 3)
    if "packing" in results:
        smallest = min(row["packing_efficiency"] for row in results["packing"].values())
        summary["packing_efficiency"] = round(smallest, 3)
    if FLAGS.output_file:
        names = ("num_layers", "hidden_size", "train_batch_size", "num_updates", "precision")
        write_json(
            FLAGS.output_file,
            {
                "command": "python -m benchmarks.pretraining "
                + " ".join(f"--{name}={FLAGS[name].value}" for name in names)
                + f" --corpus={','.join(map(os.path.basename, FLAGS.corpus))}",
                "seed": 12345,
                "cores": len(os.sched_getaffinity(0)),
                "processor": processor(),
                "versions": versions(PACKAGES, FLAGS.peer_python, sys.executable),
                **results,
                **summary,
            },
        )
    print(table(results))
    print(json.dumps(summary), flush=True)


def table(results: dict) -> str:
    """The figures for a person."""
    lines = [f"{'':<34}{'real tokens/s':>15}{'s an update':>13}{'GB':>7}"]
    rows = {name: row for name, row in results.get("against_hugging_face", {}).items() if isinstance(row, dict)}
    for name, corpus in results.get("packing", {}).items():
        rows |= {f"{name}, {kind}": corpus[kind] for kind in ("padded", "grouped")}
    for name, row in rows.items():
        lines.append(
            f"{name:<34}{row['tokens_per_second']:15,.0f}{row['median_seconds']:13.2f}"
            f"{row['peak_memory_bytes'] / 1e9:7.1f}"
        )
    for name, corpus in results.get("packing", {}).items():
        lines.append(
            f"{name}: {corpus['gain']:.2f} times the padded tokens/s, of at most {corpus['perfect_gain']:.2f}: "
            f"{corpus['packing_efficiency']:.1%}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    define_flags()
    app.run(main)
