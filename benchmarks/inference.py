"""Inference of our student against BERT-base, BERT of 6 layers and TinyBERT, in every runtime: time, memory, bytes.

    pip install -e '.[onnx,litert,benchmark]'
    python -m benchmarks.inference --vocab_file=vocab.txt --texts_file=dev.tsv --output_json=docs/results/inference.json

Every network has random weights and the same vocabulary (21,128 entries in the published figures). Latency is one text
a call, throughput 32 and 256; from token ids to probabilities, and from strings to names of classes, with one tokeniser
for all. Texts of 16, 32, 64 and 128 tokens are cut from --texts_file; the corpus cells take its texts as they are.

Each model in each runtime is a process of its own that works while the others wait. The models of one runtime take
turns, cell by cell, in a new random order in every round, so that other work on the machine hits all alike; BERT-base
in ONNX Runtime takes part in every group. A ratio is the median over the rounds, with its lowest and highest round.
Before anything is timed, all fp32 models must give Keras's probabilities.

What the peers are given: BERT goes from transformers through torch.onnx and onnxruntime's transformer optimiser
(attention, gelu and layer norms fused), int8 by dynamic quantisation; see benchmarks/inference_torch.py. Ours is what
`run_classifier.py --do_export` writes.

Models are kept in --cache_dir; a run that was interrupted goes on after its last complete round. The last line is the
ratios of the acceptance as JSON, theirs over ours.
"""

import json
import os
import random
import re
import shlex
import subprocess
import sys

import numpy as np
from absl import app, flags

from benchmarks.bilstm import processor
from benchmarks.inference_cells import (
    CELLS,
    LATENCY,
    QUICK_CELLS,
    Cell,
    make_inputs,
)
from benchmarks.inference_figures import REFERENCE, REFERENCE_RUNTIME, cell_figures, json_line, summary
from benchmarks.inference_models import MAX_SEQ_LENGTH, MODELS, TINY_MODELS
from benchmarks.inference_profile import BATCH_SIZES, profile, tokeniser_speeds
from benchmarks.inference_rounds import Rounds
from benchmarks.inference_runtimes import RUNTIMES
from benchmarks.inference_side import encoder
from benchmarks.inference_table import table
from benchmarks.sides import Side, versions
from chemkd_tf.atomic import write_json
from chemkd_tf.errors import InputError
from chemkd_tf.progress import Progress

FLAGS = flags.FLAGS
PACKAGES = ("tensorflow", "keras", "onnx", "onnxruntime", "ai-edge-litert", "torch", "transformers", "tokenizers",
            "numpy")  # fmt: skip
SEED = 1
HEAVY_ROUNDS = 2  # of cells whose call may take minutes
_TOLERANCE = 1e-4  # of fp32 probabilities
_CONDITIONS = ("threads", "rounds", "seconds", "repetitions", "only", "cells", "reference", "quick", "tiny")
_BUSY = 0.5  # load per core at which a measurement is doubtful
_QUICK = {"rounds": 2, "seconds": 0.3, "repetitions": 5}


def define_flags() -> None:
    """Only for the command line."""
    flags.DEFINE_string("vocab_file", "", "Vocabulary of all models, one entry a line.")
    flags.DEFINE_string("texts_file", "", "Real texts: .tsv, .csv, .jsonl, or one a line.")
    flags.DEFINE_string("cache_dir", "runs/inference", "Folder for models and for the rounds of an interrupted run.")
    flags.DEFINE_string("peer_python", sys.executable, "An interpreter with torch, transformers, onnx, onnxruntime.")
    flags.DEFINE_integer("threads", 2, "Threads of every runtime.")
    flags.DEFINE_integer("rounds", 6, "Turns of every cell.")
    flags.DEFINE_float("seconds", 1.0, "A turn goes on for so long,")
    flags.DEFINE_integer("repetitions", 20, "and with one text a call, for at least so many calls.")
    flags.DEFINE_string("only", "", "Regular expression: time only these of MODEL/RUNTIME.")
    flags.DEFINE_string("cells", "", "Regular expression: time only these, such as 'strings_128x(1|32)$'.")
    flags.DEFINE_bool("reference", True, "Time BERT-base in ONNX Runtime too, whatever --only says.")
    flags.DEFINE_bool("quick", False, "A look: ONNX Runtime and 128 tokens only, 2 short rounds.")
    flags.DEFINE_bool("tiny", False, "Models of the smallest size: whether everything runs, not how fast.")
    flags.DEFINE_string("output_json", "", "File for the figures; the plot goes beside it.")


def main(arguments: list[str]) -> None:
    """Makes, times, prints and writes."""
    if len(arguments) > 1:
        sys.exit(f"error: unexpected argument {arguments[1]!r}: flags are written --name=value")
    if FLAGS.quick:
        for name, value in _QUICK.items():
            FLAGS.set_default(name, value)
    try:
        results = measure()
    except InputError as error:
        sys.exit(f"error: {error}")
    if FLAGS.output_json:
        write_json(FLAGS.output_json, results)
        from benchmarks.inference_plot import plot

        plot(results, os.path.splitext(FLAGS.output_json)[0] + ".png")
    print(table(results))
    print(json.dumps(json_line(results["summary"])), flush=True)


def measure() -> dict:
    """Everything that goes into --output_json.

    Raises:
        InputError: a flag that can't be.
    """
    for name in ("vocab_file", "texts_file"):
        if not os.path.isfile(FLAGS[name].value):
            raise InputError(f"--{name}={FLAGS[name].value or '(empty)'}: no such file")
    encode, load_before = encoder(FLAGS.vocab_file), os.getloadavg()[0]
    if load_before > _BUSY * (os.cpu_count() or 1):
        note = "threads that spin while they wait, which are the peers', suffer most from it; don't quote these figures"
        print(f"other work is going on (load {load_before:.1f}): {note}", file=sys.stderr, flush=True)
    sides, sizes_of_calls = chosen_sides(), {cell.batch_size for cell in chosen_cells()}
    os.makedirs(FLAGS.cache_dir, exist_ok=True)
    inputs_file = os.path.join(FLAGS.cache_dir, "inputs.json")
    inputs = make_inputs(FLAGS.texts_file, encode, SEED)
    write_json(inputs_file, inputs)
    made = make_models(sides, inputs)
    conditions = {name: FLAGS[name].value for name in _CONDITIONS}
    rounds = Rounds(os.path.join(FLAGS.cache_dir, "rounds"), {**conditions, "texts": inputs["check"]})
    measured, ready = {}, {}
    for group in dict.fromkeys(RUNTIMES[side.split("/")[1]].group for side in sides):
        chosen = [side for side in sides if RUNTIMES[side.split("/")[1]].group == group]
        measured[group], found = measure_group(group, chosen, made, inputs_file, rounds)
        ready |= found
    sizes = {side: each["size_bytes"] for side, each in made["sides"].items()}
    onnx_paths = {side: each["path"] for side, each in made["sides"].items() if "/onnx_" in side}
    results = {
        "command": command(),
        "seed": SEED,
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load_before": load_before,
        "load_after": os.getloadavg()[0],
        "versions": versions(PACKAGES, FLAGS.peer_python, sys.executable),
        **conditions,
        "corpus_tokens": inputs["corpus_tokens"],
        "titles": {model: network.title for model, network in models().items()},
        "results": figures(measured, sizes, ready),
        "tokeniser": tokeniser_speeds(FLAGS.vocab_file, inputs["cells"][LATENCY.name]["batches"], encode),
        "profile": profile(
            onnx_paths,
            encode(inputs["largest"], MAX_SEQ_LENGTH),
            FLAGS.threads,
            [size for size in BATCH_SIZES if size in sizes_of_calls],
        ),
        "summary": summary(measured, sizes),
    }
    rounds.remove()
    return results


def command() -> str:
    """The command line, without the folders of this machine."""
    values = {name: FLAGS[name].value for name in _CONDITIONS}
    values |= {name: os.path.basename(FLAGS[name].value) for name in ("texts_file", "vocab_file")}
    return shlex.join(
        ["python", "-m", "benchmarks.inference", *(f"--{name}={value}" for name, value in values.items())]
    )


def models() -> dict:
    """The networks compared."""
    return TINY_MODELS if FLAGS.tiny else MODELS


def chosen_sides() -> list[str]:
    """ "model/runtime" of everything asked for, and BERT-base in ONNX Runtime, which all are compared with.

    Raises:
        InputError: a regular expression that isn't one, or that nothing matches.
    """
    wanted = expression("only")
    names = [name for name in RUNTIMES if not FLAGS.quick or RUNTIMES[name].group == "onnx"]
    sides = [f"{model}/{runtime}" for runtime in names for model in models() if wanted.search(f"{model}/{runtime}")]
    if not sides:
        raise InputError(f"--only={FLAGS.only}: matches no model/runtime")
    reference = f"{REFERENCE}/{REFERENCE_RUNTIME}"
    return sides if reference in sides or not FLAGS.reference else [reference, *sides]


def chosen_cells() -> list[Cell]:
    """What is timed.

    Raises:
        InputError: a regular expression that isn't one, or that nothing matches.
    """
    cells = [cell for cell in (QUICK_CELLS if FLAGS.quick else CELLS) if expression("cells").search(cell.name)]
    if not cells:
        raise InputError(f"--cells={FLAGS.cells}: matches none of {', '.join(cell.name for cell in CELLS)}")
    return cells


def expression(flag: str) -> re.Pattern:
    """The regular expression that a flag holds.

    Raises:
        InputError: it is none.
    """
    try:
        return re.compile(FLAGS[flag].value)
    except re.error as error:
        raise InputError(f"--{flag}={FLAGS[flag].value}: no regular expression ({error})") from None


def make_models(sides: list[str], inputs: dict) -> dict:
    """Runs benchmarks/inference_prepare.py; returns what it wrote.

    Raises:
        SystemExit: it failed.
    """
    jobs_file, answers_file = (os.path.join(FLAGS.cache_dir, name) for name in ("jobs.json", "made.json"))
    names = ("cache_dir", "vocab_file", "peer_python", "tiny")
    asked = {name: FLAGS[name].value for name in names} | {name: inputs[name] for name in ("check", "max_tokens")}
    write_json(jobs_file, {**asked, "sides": sides})
    done = subprocess.run([sys.executable, "-m", "benchmarks.inference_prepare", jobs_file, answers_file])
    if done.returncode:
        sys.exit("error: the models could not be made; see above")
    with open(answers_file, encoding="utf-8") as file:
        return json.load(file)


def measure_group(group: str, sides: list[str], made: dict, inputs_file: str, rounds: Rounds) -> tuple[dict, dict]:
    """Times the models of a group in turn.

    Returns:
        Seconds by side and cell, a list for each round; and what each side said when it was ready.
    """
    reference = f"{REFERENCE}/{REFERENCE_RUNTIME}"
    plan = [(side, cell) for side in sides for cell in chosen_cells()
            if cell.batch_size in RUNTIMES[side.split("/")[1]].batch_sizes]  # fmt: skip
    if reference not in sides and FLAGS.reference:
        plan.append((reference, LATENCY))
    started: dict[str, Side] = {}
    try:
        for side in dict.fromkeys(side for side, _ in plan):
            started[side] = start(side, made["sides"][side]["path"], inputs_file)
            require_agreement(side, started[side].ready, made["expected"][side.split("/")[0]])
        progress = Progress(f"timing, {group}", FLAGS.rounds, "rounds")
        for number in range(FLAGS.rounds):
            if not rounds.has(group, number):
                found = one_round(number, plan, started)
                rounds.add(group, number, found)
            progress.update(number + 1)
        progress.close()
    finally:
        for side in started.values():
            side.close()
    return rounds.by_side(group, FLAGS.rounds), {name: side.ready for name, side in started.items() if name in sides}


def one_round(number: int, plan: list[tuple[str, Cell]], started: dict[str, Side]) -> dict:
    """A turn of every cell of every side: cell by cell, the sides of each in random order."""
    draw = random.Random(f"{SEED} {number}")
    found: dict[str, dict[str, list[float]]] = {}
    cells = list(dict.fromkeys(cell for _, cell in plan if not (cell.is_heavy and number >= HEAVY_ROUNDS)))
    for cell in draw.sample(cells, len(cells)):
        sides = [side for side, planned in plan if planned == cell]
        for side in draw.sample(sides, len(sides)):
            found.setdefault(side, {})[cell.name] = started[side].update(cell.name)["seconds"]
    return found


def start(side: str, path: str, inputs_file: str) -> Side:
    """The process of one model in one runtime."""
    settings = {"threads": FLAGS.threads, "repetitions": FLAGS.repetitions, "seconds": FLAGS.seconds}
    return Side(
        sys.executable, "benchmarks.inference_side", side, f"--runtime={side.split('/')[1]}", f"--path={path}",
        f"--vocab_file={FLAGS.vocab_file}", f"--inputs={inputs_file}",
        *[f"--{name}={value}" for name, value in settings.items()],
        remedy="; pip install -e '.[onnx,litert,benchmark]' gives every runtime",
    )  # fmt: skip


def require_agreement(side: str, ready: dict, expected: list[list[float]]) -> None:
    """Ends the program unless an fp32 model gives Keras's probabilities; notes the difference of all."""
    difference = float(np.abs(np.subtract(ready.pop("probabilities"), expected)).max())
    ready["largest_difference"] = difference
    if difference > _TOLERANCE and not side.endswith("int8"):
        sys.exit(f"error: {side} differs from Keras by up to {difference:.2e}: what it computes is something else")


def figures(measured: dict, sizes: dict, ready: dict) -> dict:
    """By side: bytes, memory, and the figures of every cell."""
    result = {}
    for group, sides in measured.items():
        for side in (side for side in ready if RUNTIMES[side.split("/")[1]].group == group):
            found = {cell.name: cell_figures(sides[side][cell.name], cell.batch_size)
                     for cell in CELLS if cell.name in sides[side]}  # fmt: skip
            result[side] = {"size_bytes": sizes[side], **ready[side], "cells": found}
    return result


if __name__ == "__main__":
    define_flags()
    app.run(main)
