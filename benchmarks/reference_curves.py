"""What a healthy pretraining looks like: loss, accuracy, tokens per second and memory of two sizes on one corpus.

    python -m benchmarks.reference_curves --input_file='corpus/*.txt' --output_dir=runs/reference \
      --output_file=docs/results/reference_curves.json

Without --input_file, the corpus that comes with the project. Articles are split, a vocabulary is built, and each size
is trained on the same batches of 4,096 tokens and evaluated on held-out articles. The same command resumes it.
"""

import json
import os
import sys

from absl import app, flags

from benchmarks.bilstm import processor
from benchmarks.runs import Run, run_all
from chemkd_tf.atomic import write_json
from chemkd_tf.workdir import versions

FLAGS = flags.FLAGS
SHAPES = {
    "4x128": "--num_layers=4 --hidden_size=128 --num_attention_heads=2 --intermediate_size=512 "
    "--initializer_range=0.05",
    "6x256": "--num_layers=6 --hidden_size=256 --num_attention_heads=4 --intermediate_size=1024 "
    "--initializer_range=0.035",
}
RECORDS = "--max_seq_length=128 --masking=dynamic --dupe_factor=1 --random_seed=1"
TRAINING = (
    "--train_batch_tokens=4096 --max_position_embeddings=128 --position_initializer=sinusoidal --learning_rate=1e-3 "
    "--max_eval_steps=20 --random_seed=1 --log_every_steps=50 --hidden_dropout_prob=0"
)


def define_flags() -> None:
    """Only for the command line."""
    flags.DEFINE_string("input_file", "", "Text files or globs, one sentence a line; empty: the embedded corpus.")
    flags.DEFINE_string("corpus_name", "the corpus of `make demo`", "What the results call the corpus.")
    flags.DEFINE_string("output_dir", "runs/reference", "Where everything is made.")
    flags.DEFINE_string("output_file", "", "File for the figures; other corpora in it are kept.")
    flags.DEFINE_integer("vocab_size", 6000, "Entries of the vocabulary.")
    flags.DEFINE_integer("num_train_steps", 2000, "Updates of each size.")
    flags.DEFINE_integer("eval_every_steps", 250, "Updates between two points of the held-out curve.")


def main(arguments: list[str]) -> None:
    """Prepares, trains, prints and writes."""
    if len(arguments) > 1:
        sys.exit(f"error: unexpected argument {arguments[1]!r}: flags are written --name=value")
    commands = preparations()
    for number, (command, done) in enumerate(commands, start=1):
        if not os.path.exists(done):
            print(f"{number}/{len(commands)} {command}", flush=True)
            if os.system(f"{sys.executable} {command}") != 0:
                sys.exit(f"error: this command failed: python {command}")
    trainings = [
        Run(
            output_dir=f"{FLAGS.output_dir}/{name}",
            arguments=training(shape),
            done=f"{FLAGS.output_dir}/{name}/model.weights.h5",
            script="run_pretraining.py",
        )
        for name, shape in SHAPES.items()
    ]
    run_all(trainings, lambda run: f"{run.output_dir}: finished", parallel=1)
    result = {
        "commands": [command for command, _ in commands]
        + [f"run_pretraining.py --output_dir={run.output_dir} {run.arguments}" for run in trainings],
        "num_train_steps": FLAGS.num_train_steps,
        "sizes": {name: curves(f"{FLAGS.output_dir}/{name}") for name in SHAPES},
    }
    print(table(result["sizes"]))
    if FLAGS.output_file:
        figures = {"corpora": {}}
        if os.path.exists(FLAGS.output_file):
            with open(FLAGS.output_file, encoding="utf-8") as file:
                figures = json.load(file)
        figures |= {"seed": 1, "cores": len(os.sched_getaffinity(0)), "processor": processor(), "versions": versions()}
        figures["corpora"][FLAGS.corpus_name] = result
        write_json(FLAGS.output_file, figures)


def preparations() -> list[tuple[str, str]]:
    """Commands, without the interpreter, and the file that each leaves behind."""
    folder, commands = FLAGS.output_dir, []
    corpus = FLAGS.input_file
    if not corpus:
        corpus = f"{folder}/sample/corpus.txt"
        commands.append((f"data_prep/sample_corpus.py --output_dir={folder}/sample", corpus))
    commands.append(
        (f"data_prep/split_corpus.py --input_file='{corpus}' --output_dir={folder}/text --every=50",
         f"{folder}/text/heldout.txt")
    )  # fmt: skip
    vocabulary = f"{folder}/vocab.txt"
    commands.append(
        (f"data_prep/build_vocab.py --input_file={folder}/text/train.txt --output_file={vocabulary} "
         f"--vocab_size={FLAGS.vocab_size}", vocabulary)
    )  # fmt: skip
    for split in ("train", "heldout"):
        prefix = f"{folder}/records/{split}"
        commands.append(
            (f"data_prep/create_pretraining_data.py --input_file={folder}/text/{split}.txt --vocab_file={vocabulary} "
             f"--output_file={prefix} {RECORDS}", f"{prefix}.manifest.json")
        )  # fmt: skip
    return commands


def training(shape: str) -> str:
    """Flags of run_pretraining.py without --output_dir."""
    folder = FLAGS.output_dir
    return (
        f"--input_file={folder}/records/train --eval_input_file={folder}/records/heldout "
        f"--vocab_file={folder}/vocab.txt {shape} {TRAINING} --num_train_steps={FLAGS.num_train_steps} "
        f"--num_warmup_steps={FLAGS.num_train_steps // 10} --eval_every_steps={FLAGS.eval_every_steps}"
    )


def curves(run: str) -> dict:
    """What a run's metrics.jsonl says."""
    with open(f"{run}/metrics.jsonl", encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    trained = [line for line in lines if line["split"] == "train"]
    speeds = sorted(line["tokens_per_second"] for line in trained)
    return {
        "training": [
            {"step": line["step"], "loss": round(line["masked_lm_loss"], 4)}
            for line in trained
            if line["step"] % 100 == 0
        ],
        "held_out": [
            {
                "step": line["step"],
                "loss": round(line["masked_lm_loss"], 4),
                "accuracy": round(line["masked_lm_accuracy"], 4),
            }
            for line in lines
            if line["split"] == "eval"
        ],
        "median_tokens_per_second": round(speeds[len(speeds) // 2]),
        "peak_memory_bytes": int(max(line["peak_memory_bytes"] for line in trained)),
        "median_gradient_norm": sorted(line["gradient_norm"] for line in trained)[len(trained) // 2],
    }


def table(sizes: dict[str, dict]) -> str:
    """Held-out curves beside each other, in Markdown."""
    steps = [point["step"] for point in next(iter(sizes.values()))["held_out"]]
    lines = [
        "| updates | " + " | ".join(f"{name}: loss, accuracy" for name in sizes) + " |",
        "|---|" + "---|" * len(sizes),
    ]
    for row, step in enumerate(steps):
        points = (size["held_out"][row] for size in sizes.values())
        lines.append(
            f"| {step:,} | " + " | ".join(f"{point['loss']:.2f}, {point['accuracy']:.3f}" for point in points) + " |"
        )
    speeds = (f"{size['median_tokens_per_second']:,} tokens/s" for size in sizes.values())
    lines.append("| speed | " + " | ".join(speeds) + " |")
    memory = (f"{size['peak_memory_bytes'] / 1e9:.1f} GB" for size in sizes.values())
    lines.append("| memory | " + " | ".join(memory) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    define_flags()
    app.run(main)
