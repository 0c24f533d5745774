"""What a smaller vocabulary and a token embedding of low rank cost trained classifiers, and how many bytes they save.

    python -m benchmarks.smaller --name=hazard_class --classifier_dir=runs/seed1 --classifier_dir=runs/seed2 \
        --train_dir=data --eval_file=dev.tsv --corpus='corpus/*.txt' --output_dir=runs/smaller --output_json=FILE

The classifiers differ in their seed alone. Each is cut in several ways, some of them are trained on for a few epochs,
and all answer --eval_file, which nothing was chosen on. Started again with another --name, it adds a task to the file.
"""

import os
import time

import numpy as np
from absl import app, flags

from benchmarks.bilstm import processor
from chemkd_tf import startup
from chemkd_tf.atomic import write_json
from chemkd_tf.workdir import read_json, versions

FLAGS = flags.FLAGS

RANKS = (128, 64, 32, 16)
MIN_COUNTS = (1, 2, 5)


def define_flags() -> None:
    """Only for the command line: other modules have flags of the same names."""
    flags.DEFINE_string("name", None, "Of the task.")
    flags.DEFINE_multi_string("classifier_dir", None, "A trained classifier.")
    flags.DEFINE_string("train_dir", None, "Folder with the train and dev files that it was trained on.")
    flags.DEFINE_string("eval_file", None, "Labelled texts to report on.")
    flags.DEFINE_integer("num_texts", 0, "Texts of --eval_file that are drawn (seed 0); 0: all.")
    flags.DEFINE_string("corpus", None, "Texts of the domain, files or globs.")
    flags.DEFINE_multi_integer("tuned_rank", [64, 32], "Rank of a classifier that is trained on after the cut.")
    flags.DEFINE_string("tuning_flags", "", "Flags of run_classifier.py for the training after the cut.")
    flags.DEFINE_string("output_dir", None, "Where the cut classifiers that are trained on go.")
    flags.DEFINE_string("output_json", None, "File for the figures.")
    flags.mark_flags_as_required(
        ["name", "classifier_dir", "train_dir", "eval_file", "corpus", "output_dir", "output_json"]
    )


def main(_: list[str]) -> None:
    """Cuts, trains on, scores and writes."""
    startup.import_tensorflow_quietly()
    from chemkd_tf.data.blocks import find_files
    from chemkd_tf.data.labelled import find_split, read_labelled
    from chemkd_tf.models.classifier import load_classifier
    from chemkd_tf.stages.shrink import count_tokens

    started = time.monotonic()
    texts = _drawn(read_labelled(FLAGS.eval_file), FLAGS.num_texts)
    scores: dict[str, list[dict]] = {}
    counted: dict[str, np.ndarray] = {}
    for seed, directory in enumerate(FLAGS.classifier_dir, start=1):
        parts = load_classifier(directory)
        if not counted:  # all have one vocabulary
            counted["training texts"] = count_tokens(parts, [find_split(FLAGS.train_dir, "train")])
            counted["corpus"] = count_tokens(parts, find_files(FLAGS.corpus, "corpus"))
        for name, cut in _variants(parts, counted):
            _keep(scores, name, seed, cut, _score(cut, texts))
        for rank in FLAGS.tuned_rank:
            cut = _pruned_and_factorised(parts, counted["training texts"], rank)
            name = f"pruned to the training texts, rank {rank} by frequency"
            _keep(scores, name, seed, cut, _score(cut, texts))
            tuned = _tuned(cut, os.path.join(FLAGS.output_dir, f"{FLAGS.name}_{seed}_{rank}"))
            _keep(scores, f"{name}, trained on", seed, tuned, _score(tuned, texts))
    found = read_json(FLAGS.output_json) if os.path.exists(FLAGS.output_json) else {"tasks": {}}
    found["tasks"][FLAGS.name] = {
        "eval_texts": len(texts.texts),
        "tuning_flags": FLAGS.tuning_flags,
        "seconds": time.monotonic() - started,
        "rows": [_row(name, rows) for name, rows in scores.items()],
    }
    found |= {"hardware": f"{len(os.sched_getaffinity(0))} cores, {processor()}", "versions": versions()}
    write_json(FLAGS.output_json, found)
    print(task_table(found["tasks"][FLAGS.name]))


def task_table(task: dict) -> str:
    """A task's rows in Markdown: means over the seeds, and what changed against the first row."""
    before = task["rows"][0]
    rows = [
        [
            row["variant"],
            f"{row['entries']:,}",
            f"{row['parameters']:,}",
            *(
                f"{row[key]:.3f}" + ("" if row is before else f" ({row[key] - before[key]:+.3f})")
                for key in ("accuracy", "macro_f1")
            ),
        ]
        for row in task["rows"]
    ]
    lines = [["classifier", "entries", "parameters", "accuracy", "macro-F1"], ["---"] * 5, *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _variants(parts, counted):
    """(name, classifier) of every cut without training."""
    from chemkd_tf.models.shrinking import factorise_embedding, prune_vocabulary

    yield "as trained", parts
    yield "pruned to the corpus", prune_vocabulary(parts, counted["corpus"], 1)
    for least in MIN_COUNTS:
        cut = prune_vocabulary(parts, counted["training texts"], least)
        yield f"pruned to the training texts, {least} or more", cut
    for rank in RANKS:
        yield f"rank {rank}, every entry alike", factorise_embedding(parts, rank)
        yield f"rank {rank}, by frequency", factorise_embedding(parts, rank, counted["training texts"])


def _drawn(texts, number: int):
    if not number:
        return texts
    chosen = sorted(np.random.default_rng(0).permutation(len(texts.texts))[:number].tolist())
    return texts._replace(
        texts=[texts.texts[index] for index in chosen],
        labels=[texts.labels[index] for index in chosen],
        lines=[texts.lines[index] for index in chosen],
    )


def _pruned_and_factorised(parts, counts, rank):
    from chemkd_tf.models.shrinking import factorise_embedding, prune_vocabulary

    pruned = prune_vocabulary(parts, counts, 1)
    kept = [parts.vocabulary.id_of(token) for token in pruned.vocabulary.tokens]
    return factorise_embedding(pruned, rank, counts[kept])


def _score(parts, texts) -> dict[str, float]:
    import tensorflow as tf

    from chemkd_tf.training.classification_metrics import classification_report, confusion_matrix

    labels = list(parts.description.labels)
    tokenizer = parts.make_tokenizer()
    predict = tf.function(lambda batch: parts.network(batch, training=False), reduce_retracing=True)
    predicted = np.zeros(len(texts.texts), np.int64)
    order = sorted(range(len(predicted)), key=lambda index: len(texts.texts[index]))
    for start in range(0, len(order), 64):
        chosen = order[start : start + 64]
        batch = tokenizer.encode(
            tf.constant([texts.texts[index] for index in chosen]), parts.description.max_seq_length
        )
        predicted[chosen] = predict(batch).numpy().argmax(axis=1)
    label_ids = np.array([labels.index(label) for label in texts.labels])
    report = classification_report(confusion_matrix(label_ids, predicted, len(labels)), labels)
    return {key: report[key] for key in ("accuracy", "macro_f1")}


def _tuned(parts, directory: str):
    """The classifier trained on, by the command that a user would give."""
    from chemkd_tf.config import ClassificationConfig
    from chemkd_tf.flags import config_of
    from chemkd_tf.models.classifier import load_classifier
    from chemkd_tf.stages import classify

    os.makedirs(directory, exist_ok=True)
    parts.save(directory)
    output_dir = directory + "_trained_on"
    arguments = [f"--init_checkpoint={directory}", f"--data_dir={FLAGS.train_dir}", f"--output_dir={output_dir}"]
    classify.run(config_of(ClassificationConfig, ["--do_train", *arguments, *FLAGS.tuning_flags.split()]))
    return load_classifier(output_dir)


def _keep(scores: dict, name: str, seed: int, parts, score: dict[str, float]) -> None:
    size = {"entries": parts.vocabulary.size, "parameters": parts.network.count_params()}
    scores.setdefault(name, []).append({"seed": seed, **size, **score})
    print(f"seed {seed}  {name}: {score['accuracy']:.4f} {score['macro_f1']:.4f}", flush=True)


def _row(name: str, rows: list[dict]) -> dict:
    return {
        "variant": name,
        "entries": rows[0]["entries"],
        "parameters": rows[0]["parameters"],
        **{key: float(np.mean([row[key] for row in rows])) for key in ("accuracy", "macro_f1")},
        "scores": [{key: row[key] for key in ("seed", "accuracy", "macro_f1")} for row in rows],
    }


if __name__ == "__main__":
    define_flags()
    app.run(main)
