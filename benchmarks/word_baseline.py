"""The student without distillation of paper section 4.3.1, over words, beside the same over word pieces.

    python -m benchmarks.word_baseline --data_dir=DIR --student_dir=runs/student --output_dir=runs/words \
        --output_json=docs/results/word_baseline.json

`DIR` holds train.tsv and dev.tsv. Of train, --num_train texts are drawn for each seed, a tenth of them chooses the
epoch; dev is what is reported. Both students have the same layers, fresh weights, the same labels and the same
training; they differ in what they read, and in their embedding, which for pieces adds positions and segments.
"""

import os
import shlex
import time

import numpy as np
from absl import app, flags

from benchmarks.bilstm import processor
from benchmarks.splits import make_splits, write_split
from chemkd_tf import startup
from chemkd_tf.atomic import write_json
from chemkd_tf.workdir import versions

FLAGS = flags.FLAGS

WORDS, PIECES = "--model=word_bilstm", "--init_checkpoint={student_dir} --random_init"
MODELS = {
    "words, last state (the paper's)": f"{WORDS} --pooling=last",
    "words, max pooling": f"{WORDS} --pooling=max",
    "pieces, last state": f"{PIECES} --pooling=last",
    "pieces, max pooling": f"{PIECES} --pooling=max",
}


def define_flags() -> None:
    """Only for the command line: other modules have flags of the same names."""
    flags.DEFINE_string("data_dir", None, "Folder with train.tsv and dev.tsv.")
    flags.DEFINE_string("student_dir", None, "Working directory of run_distill.py: shape and vocabulary of the pieces.")
    flags.DEFINE_integer("num_train", 200, "Labels for each seed.")
    flags.DEFINE_multi_integer("seed", [1, 2, 3], "Of the labels drawn, of initial weights, order and dropout.")
    flags.DEFINE_string("classifier_flags", "", "Flags of run_classifier.py for every model.")
    flags.DEFINE_string("output_dir", None, "Where the runs go.")
    flags.DEFINE_string("output_json", None, "File for the figures.")
    flags.mark_flags_as_required(["data_dir", "student_dir", "output_dir", "output_json"])


def main(_: list[str]) -> None:
    """Splits, trains, scores and writes."""
    startup.import_tensorflow_quietly()
    from chemkd_tf.data.labelled import read_labelled

    started = time.monotonic()
    train, dev = (read_labelled(f"{FLAGS.data_dir}/{split}.tsv") for split in ("train", "dev"))
    scores: dict[str, list[dict]] = {model: [] for model in MODELS}
    for seed in FLAGS.seed:
        (split,) = make_splits((train.texts, train.labels), (dev.texts, dev.labels), 0, FLAGS.num_train, seed)
        data_dir = f"{FLAGS.output_dir}/data_{seed}"
        write_split(data_dir, split)
        for number, model in enumerate(MODELS):
            score = _train(MODELS[model], data_dir, f"{FLAGS.output_dir}/run_{number}_{seed}", seed)
            scores[model].append({"seed": seed, **score})
            print(f"seed {seed}  {model}: {score}", flush=True)
    results = {
        "num_train": FLAGS.num_train,
        "reported_texts": len(dev.texts),
        "classifier_flags": FLAGS.classifier_flags,
        "hardware": f"{len(os.sched_getaffinity(0))} cores, {processor()}",
        "versions": versions(),
        "seconds": time.monotonic() - started,
        "results": [
            {
                "model": model,
                "flags": MODELS[model].format(student_dir="runs/student"),
                **{key: float(np.mean([row[key] for row in rows])) for key in ("accuracy", "macro_f1")},
                "scores": rows,
            }
            for model, rows in scores.items()
        ],
    }
    write_json(FLAGS.output_json, results)
    print(table(results["results"]))


def table(results: list[dict]) -> str:
    """The results in Markdown: mean over the seeds, and each seed's macro-F1."""
    lines = [["without distillation", "parameters", "accuracy", "macro-F1", "of each seed"], ["---"] * 5]
    for row in results:
        parameters = f"{min(score['parameters'] for score in row['scores']):,}"
        each = ", ".join(f"{score['macro_f1']:.3f}" for score in row["scores"])
        lines.append([row["model"], parameters, f"{row['accuracy']:.3f}", f"{row['macro_f1']:.3f}", each])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _train(model_flags: str, data_dir: str, output_dir: str, seed: int) -> dict:
    from chemkd_tf.config import ClassificationConfig
    from chemkd_tf.flags import config_of
    from chemkd_tf.models.classifier import TextClassifier
    from chemkd_tf.stages import classify

    arguments = shlex.split(f"{model_flags.format(student_dir=FLAGS.student_dir)} {FLAGS.classifier_flags}")
    report = classify.run(
        config_of(
            ClassificationConfig,
            [
                "--do_train",
                "--do_eval",
                f"--data_dir={data_dir}",
                f"--output_dir={output_dir}",
                f"--random_seed={seed}",
                *arguments,
            ],
        )  # fmt: skip
    )["test"]
    classifier = TextClassifier(output_dir)
    return {
        "accuracy": report["accuracy"],
        "macro_f1": report["macro_f1"],
        "parameters": classifier.network.count_params(),
        "unknown_share": report["tokens"]["unknown_share"],
        "cut_share": report["tokens"]["cut_share"],
    }


if __name__ == "__main__":
    define_flags()
    app.run(main)
