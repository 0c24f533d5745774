"""The whole pipeline in miniature, each step made by the function that its script calls."""

import dataclasses
import functools
import pathlib
from typing import NamedTuple

import h5py
import numpy as np
import tiny
from data.record_oracles import CHARACTERS, config_for, random_corpus, write_corpus, write_vocabulary

from chemkd_tf.config import ClassificationConfig, DistillationConfig, PretrainingConfig
from chemkd_tf.data.shards import write_pretraining_data
from chemkd_tf.stages import classify, distill, pretrain

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOKENS = 24
LABELS = ("安全", "环保", "设备")
# One character in each text decides its label.
KEYS = {"安全": "酸碱盐", "环保": "水氢氧", "设备": "温压力"}
FILLERS = "的一是在化学反应度钠硫甲醇溶液浓制备方法测定用为和中将加入搅拌"


class Pipeline(NamedTuple):
    """Paths of what the steps left behind."""

    folder: pathlib.Path
    vocabulary: str
    records: str
    teacher: str
    student: str
    data: str
    classifier: str


def build(tmp_path_factory) -> Pipeline:
    """Builds the pipeline, once in a test session."""
    return _build(tmp_path_factory.getbasetemp() / "pipeline")


@functools.cache
def _build(folder: pathlib.Path) -> Pipeline:
    folder.mkdir()
    write_corpus(folder / "corpus.txt", random_corpus(3, 12, longest=30))
    vocabulary = write_vocabulary(folder)
    records = str(folder / "records" / "P")
    write_pretraining_data(config_for(folder, output_file=records, max_seq_length=TOKENS))
    data = write_labelled(folder / "labelled")
    built = Pipeline(folder, vocabulary, records, *(str(folder / name) for name in ("teacher", "student")), data,
                     str(folder / "classifier"))  # fmt: skip
    with tiny.unoptimised_graphs():
        pretrain.train_and_evaluate(pretraining(built, built.teacher))
        distill.train_and_evaluate(distillation(built, built.student))
        classify.run(classification(built, built.classifier, num_train_epochs=2.0))
    return built


def pretraining(built: Pipeline, output_dir, **changes) -> PretrainingConfig:
    values = dict(
        input_file=built.records, vocab_file=built.vocabulary, output_dir=str(output_dir), num_layers=1, hidden_size=24,
        num_attention_heads=2, intermediate_size=32, max_position_embeddings=32, train_batch_size=4,
        num_train_steps=3, num_warmup_steps=0, learning_rate=1e-3,
    )  # fmt: skip
    return PretrainingConfig(**{**values, **changes})


def distillation(built: Pipeline, output_dir, **changes) -> DistillationConfig:
    values = dict(
        input_file=built.records, teacher_dir=built.teacher, output_dir=str(output_dir), num_student_layers=1,
        student_width=24, layer_map=(1,), train_batch_size=4, num_train_steps=3, num_warmup_steps=0,
    )  # fmt: skip
    return DistillationConfig(**{**values, **changes})


def classification(built: Pipeline, output_dir, **changes) -> ClassificationConfig:
    values = dict(
        data_dir=built.data, init_checkpoint=built.student, output_dir=str(output_dir), do_train=True,
        max_seq_length=TOKENS, train_batch_size=8, eval_batch_size=8, learning_rate=0.01,
    )  # fmt: skip
    return ClassificationConfig(**{**values, **changes})


def flags_of(config) -> list[str]:
    """A config as the command line that makes it."""
    values = dataclasses.asdict(config)
    joined = {name: ",".join(map(str, value)) for name, value in values.items() if isinstance(value, tuple)}
    return [f"--{name}={value}" for name, value in {**values, **joined}.items() if value is not None]


def random_texts(seed: int, rows: int, longest: int = 30) -> list[tuple[str, str]]:
    """(text, label) rows of unequal length, every label in turn; the label's character stands among the first 20."""
    rng = np.random.default_rng(seed)
    texts = []
    for row in range(rows):
        label = LABELS[row % len(LABELS)]
        characters = list(rng.choice(list(FILLERS), rng.integers(0, longest)))
        characters.insert(rng.integers(0, min(len(characters), 20) + 1), rng.choice(list(KEYS[label])))
        texts.append(("".join(characters), label))
    return texts


def write_tsv(path, rows: list[tuple[str, str]]) -> str:
    path.write_text("".join(f"{text}\t{label}\n" for text, label in rows), encoding="utf-8")
    return str(path)


def write_labelled(folder, train: int = 24, dev: int = 13, test: int = 9) -> str:
    """train.tsv, dev.tsv and test.tsv with so many rows each."""
    folder.mkdir()
    for seed, (split, rows) in enumerate({"train": train, "dev": dev, "test": test}.items()):
        write_tsv(folder / f"{split}.tsv", random_texts(seed, rows))
    return str(folder)


def arrays(weights_file) -> dict[str, np.ndarray]:
    """Every array of an HDF5 file by its path in it."""
    found = {}
    with h5py.File(weights_file) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    assert found
    return found


assert set(FILLERS).isdisjoint("".join(KEYS.values()))
assert set(FILLERS + "".join(KEYS.values())) < set(CHARACTERS)
