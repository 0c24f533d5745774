"""Teacher, distilled student, undistilled student and TF-IDF on a labelled task of your own.

    python -m benchmarks.tasks --data_dir=DIR --teacher_dir=runs/teacher --student_dir=runs/student \
        --output_dir=runs/task --output_json=docs/results/task.json

`DIR` holds train.tsv and dev.tsv. With `--num_folds` of 2 or more both are put together and cross-validated; else
train is trained on and dev is what is reported. `--num_train` takes so many labels of the training texts. Either way a
tenth of those chooses the epoch, so that nothing is chosen on what is reported. Each model is trained once per seed
and fold. Killed and started again, it goes on with the runs that are missing. For more methods: `compare_methods`.
"""

import json
import os
import shlex
import statistics
import sys
from typing import Any

import numpy as np
from absl import app, flags
from sklearn.metrics import accuracy_score, f1_score

from benchmarks.bag_of_words import Split, read_split, score_bag_of_words
from benchmarks.runs import Run, run_all
from benchmarks.scores import NUM_RESAMPLES, bootstrap, interval
from benchmarks.splits import make_splits, write_split
from chemkd_tf.atomic import write_json
from chemkd_tf.errors import InputError

FLAGS = flags.FLAGS

NEURAL_MODELS = ("teacher", "student_distilled", "student_undistilled")
BASELINES = ("character_tfidf", "word_tfidf")


def define_flags() -> None:
    """Only for the command line: other modules have flags of the same names."""
    flags.DEFINE_string("data_dir", None, "Folder with train.tsv and dev.tsv.")
    flags.DEFINE_string("teacher_dir", None, "Working directory of run_pretraining.py.")
    flags.DEFINE_string("student_dir", None, "Working directory of run_distill.py.")
    flags.DEFINE_string(
        "unlabelled_file", "", "Corpus for distillation on the task; empty: the distilled student has none."
    )
    flags.DEFINE_string("output_dir", None, "Where the runs go.")
    flags.DEFINE_string("output_json", None, "File for the figures.")
    flags.DEFINE_integer(
        "num_folds", 0, "Folds of a cross-validation over train and dev; 0: train on train, report dev."
    )
    flags.DEFINE_integer("num_train", 0, "Training texts taken (with folds: in each), classes in proportion; 0: all.")
    flags.DEFINE_multi_integer("seed", [1, 2, 3], "Seeds of initial weights, order and dropout.")
    flags.DEFINE_integer("num_resamples", NUM_RESAMPLES, "Bootstrap resamples of the reported texts.")
    flags.DEFINE_string("classifier_flags", "", "Flags of run_classifier.py for every model.")
    flags.DEFINE_string("teacher_flags", "--learning_rate=2e-4 --num_train_epochs=3", "Flags for the teacher.")
    flags.DEFINE_string("student_flags", "--learning_rate=2e-3 --num_train_epochs=8", "Flags for both students.")
    flags.DEFINE_string("distilled_flags", "", "More flags for the distilled student.")
    flags.mark_flags_as_required(["data_dir", "teacher_dir", "student_dir", "output_dir", "output_json"])


def main(arguments: list[str]) -> None:
    """Splits, runs, scores and writes."""
    if len(arguments) > 1:
        sys.exit(f"error: unexpected argument {arguments[1]!r}: flags are written --name=value")
    train, dev = (read_split(os.path.join(FLAGS.data_dir, f"{split}.tsv")) for split in ("train", "dev"))
    try:
        splits = make_splits(train, dev, FLAGS.num_folds, FLAGS.num_train)
    except InputError as error:
        sys.exit(f"error: --data_dir={FLAGS.data_dir}: {error}")
    for number, split in enumerate(splits):
        write_split(f"{FLAGS.output_dir}/data_{number}", split)
    run_all(
        make_runs(len(splits)),
        lambda run: f"macro-F1 on its dev {_dev_macro_f1(run.output_dir):.3f}",
    )
    labels = np.concatenate([split["test"][1] for split in splits])
    predictions = {model: neural_predictions(model, splits) for model in NEURAL_MODELS}
    predictions |= baseline_predictions(splits)
    results = summarise(labels, predictions, FLAGS.num_resamples)
    write_json(
        FLAGS.output_json,
        {
            "command": "python -m benchmarks.tasks " + shlex.join(sys.argv[1:]),
            "reported_texts": len(labels),
            "training_texts": [len(split["train"][1]) for split in splits],
            "texts_that_choose_the_epoch": [len(split["dev"][1]) for split in splits],
            "seeds": FLAGS.seed,
            "results": results,
        },
    )
    print("\n" + table(results))


def make_runs(num_splits: int) -> list[Run]:
    """Every model, seed and fold; teachers first, for the distilled students need them."""
    encoders = {
        "teacher": f"--init_checkpoint={FLAGS.teacher_dir} {FLAGS.teacher_flags}",
        "student_undistilled": f"--init_checkpoint={FLAGS.student_dir} --random_init {FLAGS.student_flags}",
        "student_distilled": f"--init_checkpoint={FLAGS.student_dir} {FLAGS.student_flags} {FLAGS.distilled_flags}",
    }
    runs = []
    for model, encoder in encoders.items():
        for seed in FLAGS.seed:
            for number in range(num_splits):
                data = f"{FLAGS.output_dir}/data_{number}"
                output_dir, needs, task = run_dir(model, seed, number), (), ""
                if model == "student_distilled" and FLAGS.unlabelled_file:
                    teacher = run_dir("teacher", seed, number)
                    needs = (f"{teacher}/predictions.tsv",)
                    task = f" --teacher_dir={teacher} --unlabelled_file={FLAGS.unlabelled_file}"
                runs.append(
                    Run(
                        output_dir,
                        f"--do_train --do_eval --do_predict --data_dir={data} --predict_file={data}/test.tsv "
                        f"--random_seed={seed} {encoder}{task} {FLAGS.classifier_flags}",
                        done=f"{output_dir}/predictions.tsv",
                        needs=needs,
                    )
                )
    return runs


def run_dir(model: str, seed: int, number: int) -> str:
    """Working directory of one run."""
    return f"{FLAGS.output_dir}/{model}_seed{seed}_fold{number}"


def neural_predictions(model: str, splits: list[dict[str, Split]]) -> list[np.ndarray]:
    """Predicted labels of all reported texts, one array per seed."""
    answers = []
    for seed in FLAGS.seed:
        found = []
        for number, split in enumerate(splits):
            with open(f"{run_dir(model, seed, number)}/predictions.tsv", encoding="utf-8") as file:
                rows = [line.split("\t")[0] for line in file][1:]
            assert len(rows) == len(split["test"][1]), run_dir(model, seed, number)
            found += rows
        answers.append(np.array(found, object))
    return answers


def baseline_predictions(splits: list[dict[str, Split]]) -> dict[str, list[np.ndarray]]:
    """Predicted labels of TF-IDF with logistic regression. It draws nothing at random: one array."""
    scores = [score_bag_of_words(split["train"], split["dev"], split["test"]) for split in splits]
    return {name: [np.concatenate([np.array(score[name]["predictions"], object) for score in scores])]
            for name in BASELINES}  # fmt: skip


def summarise(labels: np.ndarray, predictions: dict[str, list[np.ndarray]], num_resamples: int) -> list[dict[str, Any]]:
    """Scores per seed, their mean and spread, and bootstrap intervals over the reported texts.

    Args:
        labels: of the N reported texts.
        predictions: by model, one array `[N]` per seed.
        num_resamples: of the bootstrap.

    Returns:
        Per model: accuracy and macro_f1 (means over the seeds), scores (per seed), `interval` (95 %, percentiles, of
        the mean macro-F1 over resampled texts) and `against_undistilled`: the mean difference in macro-F1, its
        interval over the same resamples, and the share of resamples in which it is not positive.
    """
    classes, true = np.unique(labels.astype(str), return_inverse=True)
    number = {label: index for index, label in enumerate(classes)}
    resampled = {}
    for model, answers in predictions.items():
        ids = [np.array([number[label] for label in answer]) for answer in answers]
        resampled[model] = bootstrap(true, ids, len(classes), num_resamples)
    results = []
    for model, answers in predictions.items():
        scores = [
            {
                "accuracy": float(accuracy_score(labels, answer)),
                "macro_f1": float(f1_score(labels, answer, average="macro", zero_division=0)),
            }
            for answer in answers
        ]
        result = {
            "model": model,
            **{key: statistics.mean(score[key] for score in scores) for key in ("accuracy", "macro_f1")},
            "scores": scores,
            "interval": interval(resampled[model]),
        }
        if "student_undistilled" in predictions and model != "student_undistilled":
            difference = resampled[model] - resampled["student_undistilled"]
            result["against_undistilled"] = {
                "interval": interval(difference),
                "share_not_better": float((difference <= 0).mean()),
            }
        results.append(result)
    return results


def table(results: list[dict[str, Any]]) -> str:
    """The results as a Markdown table."""
    lines = ["| model | accuracy | macro-F1 | 95 % interval | against undistilled |", "|---|---|---|---|---|"]
    undistilled = next((result["macro_f1"] for result in results if result["model"] == "student_undistilled"), None)
    for result in results:
        cells = []
        for key in ("accuracy", "macro_f1"):
            values = [score[key] for score in result["scores"]]
            cells.append(f"{result[key]:.3f}" + (f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""))
        cells.append("{:.3f} to {:.3f}".format(*result["interval"]))
        if "against_undistilled" in result:
            low, high = result["against_undistilled"]["interval"]
            cells.append(f"{result['macro_f1'] - undistilled:+.3f} ({low:+.3f} to {high:+.3f})")
        else:
            cells.append("")
        lines.append(f"| {result['model']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _dev_macro_f1(output_dir: str) -> float:
    with open(f"{output_dir}/dev_report.json", encoding="utf-8") as file:
        return json.load(file)["macro_f1"]


if __name__ == "__main__":
    define_flags()
    app.run(main)
