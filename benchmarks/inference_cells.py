"""What is timed: from ids or from strings, of one length or of a corpus's lengths, one text or many."""

import dataclasses
import random
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.inference_models import MAX_SEQ_LENGTH, NUM_CLASSES
from chemkd_tf.data.labelled import read_texts
from chemkd_tf.errors import InputError

CORPUS = 0  # tokens of a cell whose texts are those of the corpus, as long as they are
IDS, STRINGS = "ids", "strings"
TOKENS = (16, 32, 64, 128)
NUM_TEXTS = 256
_READ_AT_MOST = 100_000
_NUM_CHECKED = 8


@dataclasses.dataclass(frozen=True)
class Cell:
    """One thing that is timed of every model in every runtime.

    Attributes:
        start: `IDS` (token ids to probabilities) or `STRINGS` (text to the name of its class).
        tokens: of each text, [CLS] and [SEP] included; `CORPUS`: as they come.
        batch_size: texts of a call.
    """

    start: str
    tokens: int
    batch_size: int

    @property
    def name(self) -> str:
        """As the JSON has it: ids_128x1, strings_corpusx32."""
        return f"{self.start}_{self.tokens or 'corpus'}x{self.batch_size}"

    @property
    def is_heavy(self) -> bool:
        """Whether a call may take minutes: such cells are timed in few rounds."""
        return self.batch_size > 32


CELLS: tuple[Cell, ...] = (
    *(Cell(IDS, tokens, size) for size in (1, 32) for tokens in (*TOKENS, CORPUS)),
    *(Cell(IDS, tokens, 256) for tokens in TOKENS),
    *(Cell(STRINGS, tokens, size) for size in (1, 32) for tokens in (128, CORPUS)),
)
QUICK_CELLS = tuple(cell for cell in CELLS if cell.tokens == 128 and cell.batch_size <= 32)
LATENCY = Cell(STRINGS, 128, 1)  # what the ratios are taken of
THROUGHPUT = Cell(STRINGS, 128, 32)


def make_inputs(path: str, encode: Callable[[str, int], Sequence[int]], seed: int) -> dict[str, Any]:
    """The texts of every cell, the same for all models.

    Args:
        path: see `sample_texts`.
        encode: text and most tokens to ids.
        seed: of the draw.

    Returns:
        `max_tokens`, `labels`, `check` (texts that all models must agree on), `largest` (a text of `max_tokens`),
        `corpus_tokens` (lengths of the corpus's texts, in ascending order), and `cells`: by name, what
        `inference_side.timer` takes.

    Raises:
        InputError: see `sample_texts`.
    """
    corpus = sample_texts(path, seed)

    def ids(text: str) -> Sequence[int]:
        return encode(text, MAX_SEQ_LENGTH)

    texts = {tokens: texts_of_length(corpus, tokens, ids) for tokens in TOKENS} | {CORPUS: corpus}
    lengths = {tokens: [len(ids(text)) for text in found] for tokens, found in texts.items()}
    return {
        "max_tokens": MAX_SEQ_LENGTH,
        "labels": [f"class {number}" for number in range(NUM_CLASSES)],
        "check": corpus[:_NUM_CHECKED],
        "largest": texts[MAX_SEQ_LENGTH][0],
        "corpus_tokens": sorted(lengths[CORPUS]),
        "cells": {
            cell.name: {
                "start": cell.start,
                "tokens": cell.tokens or MAX_SEQ_LENGTH,
                "batches": batches_of(texts[cell.tokens], lengths[cell.tokens], cell.batch_size),
            }
            for cell in CELLS
        },
    }


def sample_texts(path: str, seed: int) -> list[str]:
    """Returns `NUM_TEXTS` texts of a file, drawn at random (with replacement if it holds fewer).

    Args:
        path: .tsv, .csv, .jsonl or one text a line.
        seed: of the draw.

    Raises:
        InputError: missing file, or no text in it.
    """
    texts = []
    for text in read_texts(path):
        if text.strip():
            texts.append(text)
        if len(texts) == _READ_AT_MOST:
            break
    if not texts:
        raise InputError(f"--texts_file={path}: no text in it")
    draw = random.Random(seed)
    return draw.sample(texts, NUM_TEXTS) if len(texts) >= NUM_TEXTS else draw.choices(texts, k=NUM_TEXTS)


def texts_of_length(
    texts: Sequence[str], tokens: int, encode: Callable[[str], Sequence[int]], number: int = NUM_TEXTS
) -> list[str]:
    """Returns texts of exactly so many tokens, cut from the stream of all texts: real ones, no two alike.

    Args:
        texts: where they are cut from, joined, from the start again when they end.
        tokens: of each, [CLS] and [SEP] included.
        encode: the ids of a text, with both.
        number: how many.

    Raises:
        InputError: texts that hold hardly a token.
    """
    stream, position, found = " ".join(texts), 0, []
    if len(encode(stream[:10_000])) < 3:
        raise InputError("--texts_file: no tokens in its texts")
    while len(found) < number:
        # Most tokens are one character long; where a word takes more, the window grows until they are enough.
        window = tokens - 2
        while len(encode(stream[position : position + window])) < tokens:
            window += 1
            if position + window > len(stream):
                stream += " " + " ".join(texts)
        found.append(stream[position : position + window])
        position += window
    return found


def batches_of(texts: Sequence[str], lengths: Sequence[int], batch_size: int) -> list[list[str]]:
    """Returns the texts in batches, those of like length together: so does every server that takes many at once.

    Args:
        texts: all of them.
        lengths: their tokens.
        batch_size: the last texts are left out where they do not fill a batch.
    """
    order = sorted(range(len(texts)), key=lambda index: lengths[index]) if batch_size > 1 else range(len(texts))
    chosen = [texts[index] for index in order]
    return [chosen[start : start + batch_size] for start in range(0, len(chosen) - batch_size + 1, batch_size)]
