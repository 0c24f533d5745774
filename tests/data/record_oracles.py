"""A small corpus, and its records read back with tf.train.Example and plain loops."""

import glob

import numpy as np
import tensorflow as tf

from chemkd_tf.config import PretrainingDataConfig
from chemkd_tf.text.vocabulary import Vocabulary, save_vocabulary, vocabulary_of

CHARACTERS = "的一是在酸碱盐水化学反应温度压力氢氧钠硫甲醇溶液浓制备方法测定用为和中将加入搅拌，。"
VOCABULARY = vocabulary_of([*CHARACTERS, *"0123456789", *(f"##{digit}" for digit in "0123456789")])


def write_vocabulary(folder) -> str:
    path = str(folder / "vocab.txt")
    save_vocabulary(VOCABULARY, path)
    return path


def random_corpus(seed: int, articles: int, most_sentences: int = 6, longest: int = 40) -> list[list[str]]:
    """Articles of sentences of 1 to `longest` characters."""
    rng = np.random.default_rng(seed)
    return [
        [
            "".join(rng.choice(list(CHARACTERS), rng.integers(1, longest + 1)))
            for _ in range(rng.integers(1, most_sentences + 1))
        ]
        for _ in range(articles)
    ]


def write_corpus(path, articles: list[list[str]]) -> str:
    path.write_text("\n\n".join("\n".join(article) for article in articles) + "\n", encoding="utf-8")
    return str(path)


def config_for(folder, **values) -> PretrainingDataConfig:
    """A config with records at folder/P, 16 tokens and one worker unless told otherwise."""
    defaults = {
        "input_file": str(folder / "corpus.txt"),
        "output_file": str(folder / "P"),
        "vocab_file": str(folder / "vocab.txt"),
        "max_seq_length": 16,
        "max_predictions_per_seq": 4,
        "dupe_factor": 2,
        "num_workers": 1,
    }
    return PretrainingDataConfig(**defaults | values)


def read_examples(prefix: str) -> list[dict[str, list]]:
    """Every record of every shard, as lists by feature name."""
    examples = []
    for path in sorted(glob.glob(f"{prefix}-*-of-*")):
        for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
            feature = tf.train.Example.FromString(record).features.feature
            examples.append(
                {name: list(getattr(value, value.WhichOneof("kind")).value) for name, value in feature.items()}
            )
    return examples


def unmask(example: dict[str, list], vocabulary: Vocabulary = VOCABULARY) -> list[int]:
    """The token ids of a record without its specials, what was masked put back; checks the record on the way."""
    ids = list(example["input_ids"])
    predictions = int(sum(example["masked_lm_weights"]))
    length = sum(example["input_mask"])
    positions = example["masked_lm_positions"]
    assert example["masked_lm_weights"] == [1.0] * predictions + [0.0] * (len(positions) - predictions)
    assert example["input_mask"] == [1] * length + [0] * (len(ids) - length)
    assert example["segment_ids"] == [0] * len(ids)
    assert ids[0] == vocabulary.start_id and ids[length - 1] == vocabulary.end_id
    assert ids[length:] == [vocabulary.pad_id] * (len(ids) - length)
    assert all(before < after for before, after in zip(positions, positions[1:predictions], strict=False))
    assert all(0 < position < length - 1 for position in positions[:predictions])
    assert positions[predictions:] == example["masked_lm_ids"][predictions:] == [0] * (len(positions) - predictions)
    for position, label in zip(positions[:predictions], example["masked_lm_ids"], strict=False):
        ids[position] = label
    return ids[1 : length - 1]


def ids_of(sentence: str) -> list[int]:
    """Ids of a sentence of `CHARACTERS`."""
    return [VOCABULARY.id_of(character) for character in sentence]
