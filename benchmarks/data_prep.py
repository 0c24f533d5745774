"""Google's create_pretraining_data.py against ours: the same text and vocabulary, whole processes with start-up.

    python -m benchmarks.data_prep --baseline_dir=DIR --input_file='corpus/*.txt' --vocab_file=vocab.txt \
        --output_file=docs/results/data_preparation.json

DIR holds create_pretraining_data.py and tokenization.py of google-research/bert. Both sides make ten passes, 128
tokens, static masks and padded records; ours packs an article's sentences, so that its records are as full as Google's.
What counts is non-padding tokens, [CLS] and [SEP] among them, per second from the start of the process to its end; a
megabyte of text counts once, not once for each pass. Without --input_file the embedded sample corpus is taken, without
--vocab_file a vocabulary is built from the text.

Memory is the peak resident set of each process, libraries included. Pages that processes share count in each of them,
and their peaks need not fall together: their sum is more than the machine has to give at any moment. Watching takes
about 3 % of a core, more from ours, which is busy on every core, than from Google's.

The last line on standard output is one JSON object: the ratios, and the memory of ours at its largest over all runs.
"""

import contextlib
import dataclasses
import glob
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import shlex
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator
from typing import Any, NamedTuple

if not __package__:  # Run as a file, it finds this folder's data_prep.py before the package of that name.
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from benchmarks.article_sample import draw_articles, find_articles, write_articles
from benchmarks.bilstm import processor
from benchmarks.process_memory import Usage, run_watched
from chemkd_tf import flags, startup
from chemkd_tf.atomic import write_json
from chemkd_tf.config.options import option, require
from chemkd_tf.data.blocks import find_files
from chemkd_tf.errors import InputError

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MEGABYTE = 1_000_000
PASSES = 10
ONE_PASS = "ours_one_pass"  # for memory
SAME_WORK = ("--max_seq_length=128", "--max_predictions_per_seq=20", "--masked_lm_prob=0.15")
OURS = ("--masking=static", "--pad_records", "--write_nsp_labels")  # the fields that Google's script writes
BASELINE_FILES = ("create_pretraining_data.py", "tokenization.py")
SAMPLE_CORPUS_BYTES = 3_500_000
VERSIONS_OF = ("tensorflow", "tensorflow-text", "numpy", "jieba")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataPrepBenchmarkConfig:
    """`benchmarks/data_prep.py`: speed and memory of data preparation."""

    baseline_dir: str = option(
        "", "Folder with google-research/bert's create_pretraining_data.py and tokenization.py; empty: ours alone."
    )
    input_file: str = option("", "Text files or globs, comma-separated; empty: the embedded sample corpus.")
    vocab_file: str = option("", "BERT vocabulary; empty: one is built from the text.")
    megabytes: float = option(10.0, "Text to prepare, in 10^6 bytes: whole articles from all files, in proportion.")
    baseline_megabytes: float = option(
        0.0, "Less text for the comparison with Google's script, ours on --megabytes beside it; 0: the same text."
    )
    memory_megabytes: float = option(
        500.0, "Size of the repeated text that memory is compared on, in 10^6 bytes; its records take some "
        "10 times as much disk. 0: no such comparison."
    )  # fmt: skip
    num_workers: int = option(2, "Processes of ours (one is measured beside it).")
    repeats: int = option(1, "Runs of each, the sides taking turns; the fastest counts.")
    random_seed: int = option(12345, "Draws the articles; both scripts' seed.")
    work_dir: str = option("", "Folder for text, logs and, for a while, records; empty: a temporary one.")
    output_file: str = option("", "JSON file for everything that was measured.")

    def __post_init__(self):
        require(self.megabytes > 0, f"--megabytes={self.megabytes:g}: above 0")
        require(
            0 <= self.baseline_megabytes <= self.megabytes,
            f"--baseline_megabytes={self.baseline_megabytes:g}: from 0 (the same text) to --megabytes",
        )
        require(
            self.memory_megabytes == 0 or self.memory_megabytes > self.megabytes,
            f"--memory_megabytes={self.memory_megabytes:g}: 0 (off) or more than --megabytes={self.megabytes:g}",
        )
        require(self.num_workers >= 1, f"--num_workers={self.num_workers}: at least 1")
        require(self.repeats >= 1, f"--repeats={self.repeats}: at least 1")
        for name in BASELINE_FILES if self.baseline_dir else ():
            require(
                os.path.isfile(os.path.join(self.baseline_dir, name)),
                f"--baseline_dir={self.baseline_dir}: no {name} in it: it must hold {' and '.join(BASELINE_FILES)} "
                "of google-research/bert",
            )
        require(not self.vocab_file or os.path.isfile(self.vocab_file), f"--vocab_file={self.vocab_file}: no such file")


class Variant(NamedTuple):
    """What is measured: its name ("google" or one of ours), path of its text, all flags but paths and seed."""

    name: str
    text: str
    flags: tuple[str, ...]


def main(config: DataPrepBenchmarkConfig) -> None:
    """Measures, prints and writes."""
    if importlib.util.find_spec("psutil") is None:
        raise InputError("psutil is not installed, and memory is measured with it: pip install -e '.[test]'")
    if not config.baseline_dir:
        print("no --baseline_dir: only ours is measured, every ratio is null", flush=True)
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # neither script has work for a GPU; finding one takes time
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [ROOT, os.environ.get("PYTHONPATH")]))
    try:
        with _working_folder(config.work_dir) as folder:
            rows = measure_all(config, folder)
    except KeyboardInterrupt:
        sys.exit("interrupted; nothing was written")
    summary = summarise(rows)
    print("\n" + table(rows), flush=True)
    if config.output_file:
        write_json(config.output_file, {**_circumstances(config), **summary, "results": rows})
    print(json.dumps(summary), flush=True)


def measure_all(config: DataPrepBenchmarkConfig, folder: str) -> list[dict[str, Any]]:
    """Makes the texts and runs every variant on them; returns a row of figures for each."""
    texts, vocabulary = prepare_input(config, folder)
    variants = variants_of(config, texts)
    # Whichever side comes first would pay for reading TensorFlow from disk.
    _run("warm_up", [sys.executable, "-c", "import tensorflow, tensorflow_text"], folder)
    usages: dict[Variant, list[Usage]] = {variant: [] for variant in variants}
    counts: dict[Variant, tuple[int, int]] = {}
    for turn in range(config.repeats):
        for variant in variants:
            if turn and variant.name == ONE_PASS:
                continue  # one run tells its memory
            usage, counts[variant] = measure(config, variant, vocabulary, folder)
            usages[variant].append(usage)
    return [row_of(variant, usages[variant], *counts[variant]) for variant in variants]


def prepare_input(config: DataPrepBenchmarkConfig, folder: str) -> tuple[dict[str, str], str]:
    """Writes the texts, and a vocabulary if none is given.

    Returns:
        Paths of the texts "full", and where they are asked for "baseline" and "memory"; path of the vocabulary.
    """
    sources = config.input_file
    if not sources:
        num_bytes = min(SAMPLE_CORPUS_BYTES, round(config.megabytes * MEGABYTE))
        arguments = [f"--output_dir={folder}/sample", f"--corpus_bytes={num_bytes}"]
        _run("sample_corpus", [*_script("data_prep/sample_corpus.py"), *arguments], folder)
        sources = f"{folder}/sample/corpus.txt"
    articles = find_articles(find_files(sources))
    require(bool(articles), f"--input_file={sources}: no text in it")
    sizes = {"full": config.megabytes, "baseline": config.baseline_megabytes, "memory": config.memory_megabytes}
    if config.baseline_megabytes == config.megabytes:
        del sizes["baseline"]
    texts = {}
    for name, megabytes in sizes.items():
        if megabytes:
            texts[name] = f"{folder}/{name}.txt"
            drawn = draw_articles(articles, round(megabytes * MEGABYTE), config.random_seed)
            write_articles(drawn, texts[name])
            times = megabytes * MEGABYTE / sum(article.size for article in articles)
            repeated = f", the input {times:.1f} times" if times > 1 else ""
            print(f"{name}: {os.path.getsize(texts[name]):,} bytes, {len(drawn):,} articles{repeated}", flush=True)
    vocabulary = config.vocab_file
    if not vocabulary:
        vocabulary = f"{folder}/vocab.txt"
        arguments = [f"--input_file={texts['full']}", f"--output_file={vocabulary}"]
        _run("build_vocab", [*_script("data_prep/build_vocab.py"), *arguments], folder)
    return texts, vocabulary


def variants_of(config: DataPrepBenchmarkConfig, texts: dict[str, str]) -> list[Variant]:
    """What is measured, in the order in which it takes turns."""
    workers, passes = f"--num_workers={config.num_workers}", f"--dupe_factor={PASSES}"
    ours = {
        "ours_packed": ("--sample_mode=packed", workers),
        "ours_packed_one_worker": ("--sample_mode=packed", "--num_workers=1"),
        "ours_packed_whole_word": ("--sample_mode=packed", "--do_whole_word_mask", workers),
        "ours_sentence": ("--sample_mode=sentence", workers),
    }
    variants = []
    if config.baseline_dir:
        variants.append(Variant("google", texts.get("baseline", texts["full"]), (*SAME_WORK, passes)))
    for text in [texts[name] for name in ("baseline", "full") if name in texts]:
        variants += [Variant(name, text, (*SAME_WORK, *OURS, *own, passes)) for name, own in ours.items()]
    if "memory" in texts:
        once = (*SAME_WORK, *OURS, *ours["ours_packed"], "--dupe_factor=1")
        variants += [Variant(ONE_PASS, texts[name], once) for name in ("full", "memory")]
    return variants


def measure(
    config: DataPrepBenchmarkConfig, variant: Variant, vocabulary: str, folder: str
) -> tuple[Usage, tuple[int, int]]:
    """Runs one variant into a fresh folder; returns what it took, and how many records and tokens it wrote."""
    script = _script("data_prep/create_pretraining_data.py")
    if variant.name == "google":
        script = [*_script("benchmarks/tf1_script.py"), os.path.join(config.baseline_dir, BASELINE_FILES[0])]
    output_dir = tempfile.mkdtemp(prefix="records_", dir=folder)
    paths = [f"--input_file={variant.text}", f"--vocab_file={vocabulary}", f"--output_file={output_dir}/P"]
    try:
        usage = _run(variant.name, [*script, *paths, f"--random_seed={config.random_seed}", *variant.flags], folder)
        files = [path for path in sorted(glob.glob(f"{output_dir}/P*")) if not path.endswith(".manifest.json")]
        records, tokens = count_records(files)
    finally:
        shutil.rmtree(output_dir)
    if not tokens:
        sys.exit(f"error: {variant.name} wrote no token: is {variant.text} more than a few sentences?")
    return usage, (records, tokens)


def count_records(paths: list[str]) -> tuple[int, int]:
    """Returns the number of records in TFRecord files, and of tokens that are not padding (sum of `input_mask`)."""
    with startup.filtered_stderr():
        import tensorflow as tf
    feature = {"input_mask": tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True)}
    records = tokens = 0
    for batch in tf.data.TFRecordDataset(paths).batch(4096):
        records += len(batch)
        tokens += int(tf.reduce_sum(tf.io.parse_example(batch, feature)["input_mask"]))
    return records, tokens


def row_of(variant: Variant, usages: list[Usage], records: int, tokens: int) -> dict[str, Any]:
    """The figures of one variant: rates from its fastest run, memory from its largest."""
    times = [usage.seconds for usage in usages]
    text_bytes = os.path.getsize(variant.text)
    return {
        "what": variant.name,
        "text": os.path.splitext(os.path.basename(variant.text))[0],
        "text_bytes": text_bytes,
        "flags": " ".join(variant.flags),
        "seconds": min(times),
        "seconds_median": statistics.median(times),
        "seconds_of_all_runs": times,
        "records": records,
        "tokens": tokens,
        "tokens_per_second": tokens / min(times),
        "records_per_second": records / min(times),
        "megabytes_per_second": text_bytes / MEGABYTE / min(times),
        "peak_memory_bytes": max(usage.peaks[0] for usage in usages),
        "total_memory_bytes": max(sum(usage.peaks) for usage in usages),
        "processes": max(len(usage.peaks) for usage in usages),
    }


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The ratios, and the memory of ours; adds `tokens_per_second_ratio` to each row.

    A row has a ratio if it did Google's work: as many passes over the same text. Otherwise, and without Google's
    figures, it is None.
    """
    google = next((row for row in rows if row["what"] == "google"), None)
    for row in rows:
        comparable = google and row["text"] == google["text"] and row["what"] != ONE_PASS
        row["tokens_per_second_ratio"] = row["tokens_per_second"] / google["tokens_per_second"] if comparable else None
    ours = [row for row in rows if row is not google]
    ratio = {row["what"]: row["tokens_per_second_ratio"] for row in ours if row["tokens_per_second_ratio"]}
    one_pass = {row["text"]: row["peak_memory_bytes"] for row in ours if row["what"] == ONE_PASS}
    return {
        "tokens_per_second_ratio": ratio.get("ours_packed"),
        "tokens_per_second_ratio_one_worker": ratio.get("ours_packed_one_worker"),
        "tokens_per_second_ratio_whole_word": ratio.get("ours_packed_whole_word"),
        "tokens_per_second_ratio_sentence": ratio.get("ours_sentence"),
        "peak_memory_bytes": max(row["peak_memory_bytes"] for row in ours),
        "total_memory_bytes": max(row["total_memory_bytes"] for row in ours),
        "baseline_peak_memory_bytes": google and google["peak_memory_bytes"],
        "memory_growth": one_pass["memory"] / one_pass["full"] if one_pass else None,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The rows for a person; memory in 10^6 bytes."""
    heads = ("seconds", "tokens/s", "records/s", "MB/s", "peak MB", "MB, sum", "ratio")
    lines = [f"{'what':36}" + "".join(f"{head:>12}" for head in heads)]
    for row in rows:
        ratio = row["tokens_per_second_ratio"]
        cells = (
            f"{row['seconds']:.1f}",
            f"{row['tokens_per_second']:,.0f}",
            f"{row['records_per_second']:,.0f}",
            f"{row['megabytes_per_second']:.3f}",
            f"{row['peak_memory_bytes'] / MEGABYTE:,.0f}",
            f"{row['total_memory_bytes'] / MEGABYTE:,.0f}",
            f"{ratio:.1f}" if ratio else "",
        )
        what = f"{row['what']}, {row['text_bytes'] / MEGABYTE:,.4g} MB"
        lines.append(f"{what:36}" + "".join(f"{cell:>12}" for cell in cells))
    return "\n".join(lines)


def _circumstances(config: DataPrepBenchmarkConfig) -> dict[str, Any]:
    baseline = {}
    if config.baseline_dir:
        for name in BASELINE_FILES:
            with open(os.path.join(config.baseline_dir, name), "rb") as file:
                baseline[name] = hashlib.sha256(file.read()).hexdigest()
    return {
        "command": "python -m benchmarks.data_prep " + shlex.join(sys.argv[1:]),
        "baseline_sha256": baseline,
        "random_seed": config.random_seed,
        "cores": len(os.sched_getaffinity(0)),
        "processor": processor(),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in VERSIONS_OF},
    }


@contextlib.contextmanager
def _working_folder(work_dir: str) -> Iterator[str]:
    if work_dir:
        os.makedirs(work_dir, exist_ok=True)
        yield work_dir
    else:
        with tempfile.TemporaryDirectory(prefix="data_prep_benchmark_") as folder:
            yield folder


def _run(name: str, command: list[str], folder: str) -> Usage:
    """Prints the command before it runs, and what it took."""
    print(f"$ {shlex.join(['python', *command[1:]])}", flush=True)
    usage = run_watched(command, f"{folder}/{name}.log", name)
    peaks = ", ".join(f"{peak / MEGABYTE:,.0f}" for peak in usage.peaks)
    print(f"  {usage.seconds:.1f} s; MB of each process: {peaks}", flush=True)
    return usage


def _script(path: str) -> list[str]:
    return [sys.executable, os.path.relpath(os.path.join(ROOT, path))]


if __name__ == "__main__":
    flags.define(DataPrepBenchmarkConfig)
    flags.run(main, DataPrepBenchmarkConfig)
