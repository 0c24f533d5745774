"""Exported models under threads: no error, the single-threaded answers, no memory that grows.

    python -m benchmarks.soak --models=export/saved_model/1,export/litert/int8.tflite,export/onnx/int8.onnx \\
        --texts_file=dev.tsv

Each model has a process of its own. It first answers every batch of texts in one thread, then 8 threads answer batches
drawn at random, for a minute, and hold what they get against that. A SavedModel and an ONNX session are shared; an
interpreter of LiteRT holds state, so each thread has its own.

Memory is the resident set: its mean over the last tenth of the time against its mean over the tenth that follows the
warm-up. The last line is all of it as JSON; the exit status is 1 where something failed.
"""

import json
import os
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
from absl import app, flags

from benchmarks.bilstm import processor
from chemkd_tf.atomic import write_json

FLAGS = flags.FLAGS
SEED = 1
MOST_GROWTH = 2.0  # percent
_TOLERANCE = 1e-6  # of probabilities: threads may add in another order
_BATCH_SIZES = (1, 1, 1, 2, 5, 16)
_NUM_BATCHES = 60
_OWN_FOR_EACH_THREAD = (".tflite",)
_SECONDS_BETWEEN_SAMPLES = 0.25


def define_flags() -> None:
    """Only for the command line."""
    flags.DEFINE_list("models", [], "Exported models: a SavedModel's folder, a .tflite, an .onnx.")
    flags.DEFINE_string("texts_file", "", "Real texts: .tsv, .csv, .jsonl, or one a line.")
    flags.DEFINE_integer("threads", 8, "Threads that call at the same time.")
    flags.DEFINE_float("seconds", 60.0, "How long they do, for each model, after the warm-up.")
    flags.DEFINE_float("warm_up_seconds", 15.0, "How long they do before memory counts.")
    flags.DEFINE_string("output_json", "", "File for the figures.")
    flags.DEFINE_bool("here", False, "In this process: how the others are started.")


def main(arguments: list[str]) -> None:
    """Runs every model, prints and writes."""
    if len(arguments) > 1:
        sys.exit(f"error: unexpected argument {arguments[1]!r}: flags are written --name=value")
    if not FLAGS.models:
        sys.exit("error: --models is empty: name exported models, with commas between them")
    for path in (FLAGS.texts_file, *FLAGS.models):
        if not os.path.exists(path):
            sys.exit(f"error: {path or '--texts_file'}: no such file or folder")
    if FLAGS.here:
        print(json.dumps(soak_here(FLAGS.models[0])), flush=True)
        return
    results = {path: in_own_process(path) for path in FLAGS.models}
    for path, found in results.items():
        print(f"{path}: {verdict(found)}", flush=True)
    if FLAGS.output_json:
        write_json(
            FLAGS.output_json,
            {"threads": FLAGS.threads, "seconds": FLAGS.seconds, "warm_up_seconds": FLAGS.warm_up_seconds,
             "processor": processor(), "cores": os.cpu_count(), "results": results},
        )  # fmt: skip
    print(json.dumps(results), flush=True)
    sys.exit(int(not all(passed(found) for found in results.values())))


def in_own_process(path: str) -> dict:
    """What `soak_here` finds, in a process that holds nothing else.

    Raises:
        SystemExit: the process failed.
    """
    names = ("texts_file", "threads", "seconds", "warm_up_seconds")
    command = [sys.executable, "-m", "benchmarks.soak", "--here", f"--models={path}",
               *(f"--{name}={FLAGS[name].value}" for name in names)]  # fmt: skip
    print(f"{path}: {FLAGS.threads} threads, {FLAGS.warm_up_seconds + FLAGS.seconds:.0f} s", flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"error: {path}: its process ended with status {done.returncode}; see above")
    return json.loads(done.stdout.splitlines()[-1])


def soak_here(path: str) -> dict:
    """Loads a model and calls it from many threads.

    Raises:
        SystemExit: a model or texts that can't be read.
    """
    from benchmarks.inference_cells import sample_texts
    from chemkd_tf.errors import InputError

    try:
        texts = sample_texts(FLAGS.texts_file, SEED)
    except InputError as error:
        sys.exit(f"error: {error}")
    alone = load(path)
    predictors = [load(path) if path.endswith(_OWN_FOR_EACH_THREAD) else alone for _ in range(FLAGS.threads)]
    draw = random.Random(SEED)
    batches = [draw.sample(texts, draw.choice(_BATCH_SIZES)) for _ in range(_NUM_BATCHES)]
    return soak(alone, predictors, batches, FLAGS.warm_up_seconds, FLAGS.seconds)


def load(path: str) -> Callable[[list[str]], np.ndarray]:
    """An exported model as its users hold it: TensorFlow's memory would hide what an .onnx or .tflite loses."""
    from chemkd_tf.export import client

    if os.path.splitext(path)[1] in client.RUNTIMES:
        return client.Classifier(path)
    from chemkd_tf import startup

    startup.import_tensorflow_quietly()
    from chemkd_tf.export.saved_model import SavedModelClassifier

    return SavedModelClassifier(path)


def soak(
    alone: Callable, predictors: Sequence[Callable], batches: Sequence[list[str]], warm_up: float, seconds: float
) -> dict:
    """Calls from many threads and watches.

    Args:
        alone: answers first, in one thread: texts to probabilities [N, C].
        predictors: one for each thread; may be the same.
        batches: what is asked, in random order.
        warm_up: seconds before memory counts.
        seconds: after it.

    Returns:
        `calls`, `texts_per_second`, `errors` (the first of each thread), `wrong` (answers that differ by more than
        1e-6), `largest_difference`, `memory_after_warm_up_bytes`, `memory_at_end_bytes`, `growth_percent`.
    """
    expected = [alone(batch) for batch in batches]
    ended = threading.Event()
    found = [{"calls": 0, "texts": 0, "wrong": 0, "largest_difference": 0.0, "error": ""} for _ in predictors]

    def work(number: int) -> None:
        draw, mine = random.Random(f"{SEED} {number}"), found[number]
        while not ended.is_set():
            index = draw.randrange(len(batches))
            try:
                difference = float(np.abs(predictors[number](batches[index]) - expected[index]).max())
            except Exception as error:  # whatever it is, it is what this is here to find
                mine["error"] = f"{type(error).__name__}: {error}"
                return
            mine["calls"] += 1
            mine["texts"] += len(batches[index])
            mine["wrong"] += not difference <= _TOLERANCE
            mine["largest_difference"] = max(mine["largest_difference"], difference)

    threads = [threading.Thread(target=work, args=[number]) for number in range(len(predictors))]
    started = time.perf_counter()
    samples = []
    for thread in threads:
        thread.start()
    while (now := time.perf_counter() - started) < warm_up + seconds:
        samples.append((now, resident_bytes()))
        time.sleep(min(_SECONDS_BETWEEN_SAMPLES, seconds / 50))
    samples.append((now, resident_bytes()))  # also where the threads left this one no time for another
    ended.set()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - started
    before, after = growth_of(samples, warm_up, seconds)
    return {
        "calls": sum(each["calls"] for each in found),
        "texts_per_second": sum(each["texts"] for each in found) / took,
        "errors": [each["error"] for each in found if each["error"]],
        "wrong": sum(each["wrong"] for each in found),
        "largest_difference": max(each["largest_difference"] for each in found),
        "memory_after_warm_up_bytes": before,
        "memory_at_end_bytes": after,
        "growth_percent": 100 * (after - before) / before,
    }


def growth_of(samples: Sequence[tuple[float, int]], warm_up: float, seconds: float) -> tuple[float, float]:
    """Mean memory over the tenth of the time that follows the warm-up, and over the last tenth.

    Args:
        samples: seconds since the start, bytes.
        warm_up: seconds that don't count.
        seconds: after them.
    """
    counted = [(moment, size) for moment, size in samples if moment >= warm_up]
    first = [size for moment, size in counted if moment < warm_up + seconds / 10] or [counted[0][1]]
    last = [size for moment, size in counted if moment >= warm_up + 0.9 * seconds] or [counted[-1][1]]
    return statistics.mean(first), statistics.mean(last)


def resident_bytes() -> int:
    """Resident set of this process."""
    with open("/proc/self/statm", encoding="utf-8") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def passed(found: dict) -> bool:
    """Whether nothing failed: no error, no other answer, and memory that stays."""
    return not found["errors"] and not found["wrong"] and found["calls"] > 0 and found["growth_percent"] <= MOST_GROWTH


def verdict(found: dict) -> str:
    """A line for a person."""
    return (
        f"{'passed' if passed(found) else 'FAILED'}: {found['calls']:,} calls, {found['texts_per_second']:,.0f} "
        f"texts a second, {len(found['errors'])} errors, {found['wrong']} other answers (by up to "
        f"{found['largest_difference']:.1e}), memory {found['memory_after_warm_up_bytes'] / 1e6:,.0f} MB "
        f"{found['growth_percent']:+.2f} %" + "".join(f"; {error}" for error in found["errors"][:1])
    )


if __name__ == "__main__":
    define_flags()
    app.run(main)
