"""One model in one runtime: a process that loads it and times what it is told to.

    python -m benchmarks.inference_side NAME --runtime=... --path=... --vocab_file=... --inputs=... --threads=2

Reads the name of a cell a line, {"batch": "ids_128x1"}, and answers {"seconds": [...]}, one for each call.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.inference_cells import IDS, STRINGS
from benchmarks.inference_runtimes import RUNTIMES

_FIRST_CALLS = 3


def main() -> None:
    """Loads, says what it took, and answers until its input ends."""
    given = parse()
    encode = encoder(given.vocab_file)
    with open(given.inputs, encoding="utf-8") as file:
        inputs = json.load(file)
    before = high_water_mark()
    started = time.perf_counter()
    answer = RUNTIMES[given.runtime].load(given.path, given.threads)
    load_seconds = time.perf_counter() - started
    for _ in range(_FIRST_CALLS):
        answer(padded([encode(inputs["largest"], inputs["max_tokens"])]))
    peak = high_water_mark()
    checked = [encode(text, inputs["max_tokens"]) for text in inputs["check"]]
    ready = {
        "load_seconds": load_seconds,
        "peak_memory_bytes": peak,
        "memory_before_loading_bytes": before,
        "probabilities": answer(padded(checked)).tolist(),
    }
    say(ready)
    compiled = RUNTIMES[given.runtime].compiled_tokens
    timers = {name: timer(cell, answer, encode, inputs["labels"], compiled) for name, cell in inputs["cells"].items()}
    for line in sys.stdin:
        say(timers[json.loads(line)["batch"]](given.repetitions, given.seconds))


def parse() -> argparse.Namespace:
    """Arguments of the process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    for name in ("runtime", "path", "vocab_file", "inputs"):
        parser.add_argument(f"--{name}", required=True)
    for name, kind in (("threads", int), ("repetitions", int), ("seconds", float)):
        parser.add_argument(f"--{name}", type=kind, required=True)
    return parser.parse_args()


def timer(
    cell: dict, answer: Callable, encode: Callable, labels: Sequence[str], compiled_tokens: int = 0
) -> Callable[[int, float], dict]:
    """Returns what times a cell.

    Args:
        cell: `start`, `tokens` (the most of a text), `batches` of texts.
        answer: ids to probabilities.
        encode: text and most tokens to ids.
        labels: names of the classes.
        compiled_tokens: see `Runtime`; what is compiled is compiled before anything counts.
    """
    tokens, batches = cell["tokens"], cell["batches"]
    prepared: list[np.ndarray] = []
    position = 0

    def from_ids(number: int) -> None:
        answer(prepared[number])

    def from_strings(number: int) -> list[str]:
        if classify := getattr(answer, "classify", None):
            return classify(batches[number])
        probabilities = answer(padded([encode(text, tokens) for text in batches[number]]))
        return [labels[index] for index in probabilities.argmax(-1)]

    call = {IDS: from_ids, STRINGS: from_strings}[cell["start"]]

    def run(repetitions: int, seconds: float) -> dict:
        """At least so many calls of one text, or one of a batch, for so long.

        A call that doesn't count goes before; of batches only in the first turn."""
        nonlocal position
        if not prepared:
            prepared.extend(padded([encode(text, tokens) for text in batch]) for batch in batches)
            compiled = {-(-ids.shape[1] // compiled_tokens): ids for ids in prepared} if compiled_tokens else {}
            for token_ids in compiled.values():
                answer(token_ids)
        least = repetitions if len(batches[0]) == 1 else 1
        if least > 1 or position == 0:
            call(position % len(batches))
        found: list[float] = []
        began = time.perf_counter()
        while len(found) < least or time.perf_counter() - began < seconds:
            position += 1
            started = time.perf_counter()
            call(position % len(batches))
            found.append(time.perf_counter() - started)
        return {"seconds": found}

    return run


def encoder(vocab_file: str) -> Callable[[str, int], list[int]]:
    """The tokeniser of all, the client's: text and most tokens to ids with [CLS] and [SEP]."""
    from chemkd_tf.export.client import Tokenizer, read_vocabulary

    with open(vocab_file, "rb") as file:
        return Tokenizer(read_vocabulary(file.read())).encode


def padded(rows: Sequence[Sequence[int]]) -> np.ndarray:
    """Rows of ids, filled on the right with [PAD], which is 0: int32 [B, T]."""
    result = np.zeros([len(rows), max(map(len, rows))], np.int32)
    for row, ids in zip(result, rows, strict=True):
        row[: len(ids)] = ids
    return result


def high_water_mark() -> int:
    """Peak resident set of this process in bytes."""
    with open("/proc/self/status", encoding="utf-8") as status:
        return next(1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM:"))


def say(value: dict) -> None:
    """A line of JSON on standard output."""
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    main()
