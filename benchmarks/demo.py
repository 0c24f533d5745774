"""The paper end to end on the embedded corpus: what `make demo` runs.

Every step is one of the project's own commands, printed before it runs, so that each can be repeated by hand. Killed
and started again, the demo goes on where it stopped. Last comes the table: teacher, distilled student, undistilled
student, and the better of two bag-of-words baselines, three seeds each, on a test set that no model was chosen on.
"""

import json
import os
import shlex
import statistics
import subprocess
import sys
import time
from typing import Any

from absl import app, flags

from benchmarks.results_table import table
from benchmarks.runs import PARALLEL_RUNS, Run, last_line, run_all
from chemkd_tf.atomic import write_json

FLAGS = flags.FLAGS
flags.DEFINE_string("output_dir", "runs/demo", "Where everything goes.")
flags.DEFINE_string(
    "text", "独立负责反应釜的检修，并建立设备台账。无需参与环保监测。", "The sentence classified at the end."
)

SEEDS = (1, 2, 3)

# Sizes for minutes on two cores. The paper's own are the flags' defaults.
#
# The teacher learns from sentences first (the paper's samples: cheap, and the masked-LM loss soon leaves the unigram
# entropy), then from whole adverts with half of their words masked: a word whose neighbours are masked as well has to
# be found from the other clauses, which is what tells the job families apart.
WHOLE_ADVERTS = "--sample_mode=packed --do_whole_word_mask --masked_lm_prob=0.5 --max_predictions_per_seq=64"
RECORDS = {
    "sentences": (
        "corpus",
        "--sample_mode=sentence --dupe_factor=1 --max_seq_length=64 --masked_lm_prob=0.2 --max_predictions_per_seq=13",
    ),
    "adverts": ("corpus", f"{WHOLE_ADVERTS} --dupe_factor=3"),
    "heldout": ("heldout", f"{WHOLE_ADVERTS} --dupe_factor=1"),
}
TEACHER_SHAPE = (
    "--hidden_size=128 --num_attention_heads=4 --intermediate_size=256 --hidden_dropout_prob=0 "
    "--max_position_embeddings=128 --initializer_range=0.05 --position_initializer=fixed_sinusoidal"
)
# Two replicas, a core each, make the same teacher as one on both cores, and sooner.
PRETRAINING = "--num_replicas=2 --group_by_length --max_eval_steps=10 --save_checkpoints_steps=100 --random_seed=1"
ON_SENTENCES = (
    "--train_batch_size=64 --learning_rate=2e-3 --num_train_steps=300 --num_warmup_steps=40 --eval_every_steps=300"
)
ON_ADVERTS = (
    "--train_batch_size=32 --learning_rate=3e-3 --num_train_steps=950 --num_warmup_steps=30 --eval_every_steps=950"
)
# On sentences: a recurrent network learns sooner from 25 steps than from 125, and an update costs half as much.
STUDENT = (
    "--student_width=128 --train_batch_size=64 --learning_rate=5e-3 --num_train_steps=400 --num_warmup_steps=20 "
    "--eval_every_steps=400 --max_eval_steps=10 --save_checkpoints_steps=100 --random_seed=1"
)
# The same for all: without dropping and shuffling sentences each of them learns its 400 texts by heart. Clipping
# and the weight of the teacher's answers were chosen on dev, for each student by itself (docs/deviations.md, 31).
CLASSIFIER = (
    "--do_train --do_eval --pooling=mean --sentence_drop_prob=0.4 --shuffle_sentences --train_batch_size=16 "
    "--eval_batch_size=64"
)
# Model of the table: what its encoder starts from, how it is fine-tuned. The distilled student also learns what the
# teacher of its own seed answers for unlabelled adverts (paper section 4.3.1), so teachers come first.
CLASSIFIERS = {
    "teacher": (
        "--init_checkpoint={directory}/teacher --group_by_length --learning_rate=1e-3 --num_train_epochs=14 "
        "--eval_every_epochs=7"
    ),
    "student_distilled": (
        "--init_checkpoint={directory}/student --teacher_dir={directory}/teacher_{seed} "
        "--unlabelled_file={directory}/text/corpus.txt --max_unlabelled_texts=2000 --prediction_loss_weight=2 "
        "--group_by_length --learning_rate=1e-2 --clip_norm=0 --num_train_epochs=8 --eval_every_epochs=4"
    ),
    "student_undistilled": (
        "--init_checkpoint={directory}/student --random_init --learning_rate=1e-2 --num_train_epochs=16 "
        "--eval_every_epochs=4"
    ),
}
ROWS = ("teacher", "student_distilled", "student_undistilled")


def main(arguments: list[str]) -> None:
    """Runs the whole pipeline and prints the table."""
    if len(arguments) > 1:
        sys.exit(f"error: unexpected argument {arguments[1]!r}: flags are written --name=value")
    directory = FLAGS.output_dir
    os.makedirs(directory, exist_ok=True)
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # sizes, replicas and runs at a time are for the cores of a CPU
    started = time.monotonic()
    prepare_data(directory)
    records = f"--eval_input_file={directory}/records/heldout"
    vocabulary = f"--vocab_file={directory}/vocab.txt"
    run(
        "2. Teacher: 6-layer BERT, masked language model only; sentences first, then whole adverts",
        f"run_pretraining.py --input_file={directory}/records/sentences {records} {vocabulary} "
        f"--output_dir={directory}/teacher_sentences {TEACHER_SHAPE} {PRETRAINING} {ON_SENTENCES}",
        done=f"{directory}/teacher_sentences/model.weights.h5",
    )
    run(
        "",
        f"run_pretraining.py --input_file={directory}/records/adverts {records} {vocabulary} "
        f"--output_dir={directory}/teacher --init_checkpoint={directory}/teacher_sentences {PRETRAINING} {ON_ADVERTS}",
        done=f"{directory}/teacher/model.weights.h5",
    )
    distil_and_classify(directory)
    rows = collect(directory)
    write_json(f"{directory}/results.json", rows)
    run(
        "6. Export the distilled student, and ask it",
        f"run_classifier.py --do_export --do_predict --output_dir={directory}/student_distilled_1 "
        f"--export_dir={directory}/export --text={shlex.quote(FLAGS.text)}",
    )
    print(f"\n{table(rows)}\n\nresults: {directory}/results.json   SavedModel: {directory}/export/saved_model/1")
    print(f"{(time.monotonic() - started) / 60:.1f} minutes")
    ask(directory)


def prepare_data(directory: str) -> None:
    """Corpus, vocabulary, records."""
    run(
        "1. Corpus, vocabulary, masked records",
        f"data_prep/sample_corpus.py --output_dir={directory}/text",
        done=f"{directory}/text/labelled/test.tsv",
    )
    run(
        "",
        f"data_prep/build_vocab.py --input_file={directory}/text/corpus.txt --output_file={directory}/vocab.txt",
        done=f"{directory}/vocab.txt",
    )
    for name, (text, arguments) in RECORDS.items():
        run(
            "",
            f"data_prep/create_pretraining_data.py --input_file={directory}/text/{text}.txt "
            f"--vocab_file={directory}/vocab.txt --output_file={directory}/records/{name} --random_seed=1 " + arguments,
            done=f"{directory}/records/{name}.manifest.json",
        )


def distil_and_classify(directory: str) -> None:
    """Distillation, then three seeds of each classifier; each starts as soon as what it needs is there."""
    print(
        "\n3. Student: 3 BiLSTM layers, distilled from the teacher's layers 1, 3, 5\n"
        f"4. Classifiers: 400 labels, {len(SEEDS)} seeds\n{PARALLEL_RUNS} of these at a time; their logs are in files",
        flush=True,
    )
    student = Run(
        f"{directory}/student",
        f"--input_file={directory}/records/sentences --eval_input_file={directory}/records/heldout "
        f"--teacher_dir={directory}/teacher {STUDENT}",
        done=f"{directory}/student/model.weights.h5",
        script="run_distill.py",
    )
    runs = [student]
    for model, arguments in CLASSIFIERS.items():
        for seed in SEEDS:
            needs = () if model == "teacher" else (student.done,)
            if "--teacher_dir" in arguments:
                needs += (f"{directory}/teacher_{seed}/test_report.json",)
            arguments_of_run = arguments.format(directory=directory, seed=seed)
            runs.append(
                Run(
                    f"{directory}/{model}_{seed}",
                    f"--data_dir={directory}/text/labelled {CLASSIFIER} {arguments_of_run} --random_seed={seed}",
                    done=f"{directory}/{model}_{seed}/test_report.json",
                    needs=needs,
                )
            )

    def say(run: Run) -> str:
        if run is student:
            return last_line(run)
        return f"dev macro-F1 {read(f'{run.output_dir}/dev_report.json')['macro_f1']:.3f}"

    run_all(runs, say)


def collect(directory: str) -> list[dict[str, Any]]:
    """One row per model: means over the seeds, and every seed's scores."""
    rows = []
    for model in ROWS:
        runs = [f"{directory}/{model}_{seed}" for seed in SEEDS]
        scores = [
            {"seed": seed, **{key: read(f"{path}/test_report.json")[key] for key in ("accuracy", "macro_f1")}}
            for seed, path in zip(SEEDS, runs, strict=True)
        ]
        rows.append({"model": model, **mean_of(scores), **cost_of(runs[0], directory), "scores": scores})
    print("\n5. Bag of words: TF-IDF and logistic regression on the same labels", flush=True)
    rows.append(bag_of_words(directory))
    return rows


def bag_of_words(directory: str) -> dict[str, Any]:
    """The better, on dev, of character and word TF-IDF. It draws nothing at random: every seed has the same scores."""
    from benchmarks.bag_of_words import read_split, score_bag_of_words

    train, dev, test = (read_split(f"{directory}/text/labelled/{split}.tsv") for split in ("train", "dev", "test"))
    results = score_bag_of_words(train, dev, test)
    best = results["best"] if isinstance(results["best"], dict) else results[results["best"]]
    scores = [{"seed": seed, "accuracy": best["accuracy"], "macro_f1": best["macro_f1"]} for seed in SEEDS]
    keys = ("parameters", "size_bytes", "latency_ms")
    return {"model": "bag_of_words", **mean_of(scores), **{key: best[key] for key in keys}, "scores": scores}


def mean_of(scores: list[dict[str, float]]) -> dict[str, float]:
    """Mean of each score over the seeds."""
    return {key: statistics.mean(score[key] for score in scores) for key in ("accuracy", "macro_f1")}


def cost_of(output_dir: str, directory: str) -> dict[str, float]:
    """Parameters, bytes of the weights on disk, and median milliseconds from a string to its probabilities."""
    from chemkd_tf import startup

    startup.import_tensorflow_quietly()
    startup.run_first_operation_quietly()
    from benchmarks import latency
    from benchmarks.bag_of_words import read_split

    return latency.cost_of(output_dir, read_split(f"{directory}/text/labelled/dev.tsv")[0])


def ask(directory: str) -> None:
    """Classifies what the user types, where there is a user."""
    if not sys.stdin.isatty():
        return
    from chemkd_tf.models.classifier import TextClassifier

    classifier = TextClassifier(f"{directory}/student_distilled_1")
    print("\nType a Chinese job advert (empty line: quit).")
    while text := input("> ").strip():
        probabilities = classifier([text])[0]
        for index in (-probabilities).argsort()[:3]:
            print(f"  {probabilities[index]:.3f}  {classifier.description.labels[index]}")


def run(title: str, command: str, done: str = "") -> None:
    """Prints and runs one command, unless what it makes last is already there."""
    if title:
        print(f"\n{title}", flush=True)
    print(f"$ python {command}", flush=True)
    if done and os.path.exists(done):
        print(f"{done} is there already", flush=True)
        return
    result = subprocess.run([sys.executable, *shlex.split(command)], check=False)
    if result.returncode:
        sys.exit(f"error: the command above failed with status {result.returncode}")


def read(path: str) -> Any:
    """Reads a JSON file."""
    with open(path, encoding="utf-8") as file:
        return json.load(file)


if __name__ == "__main__":
    app.run(main)
