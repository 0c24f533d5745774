"""Classifiers with random weights, of any shape: what an export has to carry over, without the training."""

import numpy as np
import tensorflow as tf

from chemkd_tf.models.architecture import StudentArchitecture
from chemkd_tf.models.classifier import ClassifierDescription, ClassifierParts, TextClassifier
from chemkd_tf.text.vocabulary import vocabulary_of

CHARACTERS = "的一是在化学反应度酸碱盐水氢氧温压力钠硫甲醇溶液浓制备方法测定用为和中将加入搅拌检修"
PIECES = [*CHARACTERS, *"abh2so4，。（）", "##2", "##so", "##4", "15", "##℃", "na", "##oh", "𠀀", "😀"]
LABELS = ("安全", "环保", "设备", "质量")
TOKENS = 40
STUDENT = StudentArchitecture(vocabulary_size=5 + len(PIECES), num_layers=2, hidden_dim=24, max_sequence_length=48)

ODD = {
    "nothing": b"",
    "white space": " \t\u3000\n".encode(),
    "emoji": "检修😀👩‍🔬水".encode(),
    "rare ideographs": "𠀀㐀酸".encode(),
    "full-width digits": "温度为１２３度，压力４５".encode(),
    "ten thousand characters": ("化学反应温度" * 1667)[:10_000].encode(),
    "one long word": b"a" * 10_000,
    "formulae": "加入H2SO4溶液与Na₂CO₃，15℃搅拌".encode(),
    "not UTF-8": "酸".encode() + b"\xff\xfe\xc3" + "水".encode(),
    "control characters": b"\x00\x01" + "酸\x1b[0m\u200b\u2028水".encode() + b"\x7f",
    "special tokens": "[CLS] 酸 [MASK] [PAD] [SEP]".encode(),
}


def make(folder, architecture=STUDENT, pooling: str = "max", seed: int = 1) -> TextClassifier:
    """Writes a classifier into `folder`, large weights so that its answers differ, and loads it."""
    description = ClassifierDescription(architecture, LABELS, pooling, TOKENS, do_lower_case=True)
    network = description.build()
    rng = np.random.default_rng(seed)
    for variable in network.weights:
        if not variable.path.endswith(("gamma", "beta")):
            width = 1.0 if "classifier" in variable.path else 0.3
            variable.assign(rng.normal(size=variable.shape, scale=width))
    ClassifierParts(description, vocabulary_of(PIECES), network).save(str(folder))
    return TextClassifier(str(folder))


def texts(rows: int, longest: int = TOKENS + 8, seed: int = 2) -> list[str]:
    """Texts of unequal length, from none to more characters than there are positions."""
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list(CHARACTERS + "aH2，"), rng.integers(0, longest))) for _ in range(rows)]


def token_rows(rows: int, seed: int = 3) -> np.ndarray:
    """Ids int32 `[rows, T]` of rows from 1 to `TOKENS` long, padded; the lengths 1 and `TOKENS` among them, if two."""
    rng = np.random.default_rng(seed)
    lengths = [TOKENS, 1, *rng.integers(1, TOKENS + 1, rows)][:rows]
    token_ids = np.zeros((rows, TOKENS), np.int32)
    for row, length in zip(token_ids, lengths, strict=True):
        row[:length] = rng.integers(1, STUDENT.vocabulary_size, length)
    return token_ids


def expected(classifier: TextClassifier, token_ids: np.ndarray) -> np.ndarray:
    """Probabilities by the Keras model, softmax by NumPy in float64."""
    batch = {
        "token_ids": token_ids,
        "segment_ids": np.zeros_like(token_ids),
        "padding_mask": (token_ids != 0).astype(np.int32),
    }
    logits = classifier.network(batch, training=False).numpy().astype(np.float64)
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def expected_of_texts(classifier: TextClassifier, given: list) -> np.ndarray:
    """Probabilities of strings, tokenised by TensorFlow."""
    return expected(classifier, classifier.tokenizer.encode(tf.constant(given), TOKENS)["token_ids"].numpy())
