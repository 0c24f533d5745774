"""The networks of benchmarks/inference.py as classifiers on disk, with random weights.

    bert_base   12 layers, 768 wide: what most people would serve
    bert_6      its first 6 layers: the teacher
    tinybert    4 layers, 312 wide, FFN 1,200 (TinyBERT 4x312)
    ours        3 BiLSTM layers, 200 wide

A transformer classifies by the state at [CLS] and its activation is the exact gelu, as bert-base-chinese has it; ours
by the pooling that run_classifier.py has by default.
"""

import dataclasses
import os

from chemkd_tf.models.architecture import Architecture, StudentArchitecture, TeacherArchitecture

OURS = "ours"
SEED = 1
NUM_CLASSES = 10
MAX_SEQ_LENGTH = 128
_DONE_FILE = "classifier.weights.h5"


@dataclasses.dataclass(frozen=True)
class Network:
    """One of those compared.

    Attributes:
        title: for tables.
        architecture: of its encoder, but for the size of the vocabulary.
        pooling: see `heads.Pooling`.
    """

    title: str
    architecture: Architecture
    pooling: str = "cls"


def transformer(num_layers: int, hidden_dim: int, intermediate_dim: int, num_heads: int = 12) -> TeacherArchitecture:
    """A BERT of this shape."""
    return TeacherArchitecture(
        num_layers=num_layers,
        hidden_dim=hidden_dim,
        intermediate_dim=intermediate_dim,
        num_heads=num_heads,
        activation="gelu",
    )


MODELS: dict[str, Network] = {
    "bert_base": Network("BERT-base, 12 layers", transformer(12, 768, 3072)),
    "bert_6": Network("BERT, 6 layers", transformer(6, 768, 3072)),
    "tinybert": Network("TinyBERT 4x312", transformer(4, 312, 1200)),
    OURS: Network("ours, 3 BiLSTM 200", StudentArchitecture(), "max"),
}
# The same kinds in the smallest size: they show in seconds that everything runs. Nobody should quote their figures.
TINY_MODELS: dict[str, Network] = {
    "bert_base": Network("tiny, 2 layers", transformer(2, 24, 32, num_heads=2)),
    "tinybert": Network("tiny, 1 layer", transformer(1, 12, 16, num_heads=2)),
    OURS: Network("tiny, 1 BiLSTM", StudentArchitecture(num_layers=1, hidden_dim=10), "max"),
}


def write_classifier(network: Network, vocab_file: str, folder: str) -> str:
    """Writes a classifier with random weights, unless it is there.

    Args:
        network: what to write.
        vocab_file: its vocabulary.
        folder: as `TextClassifier` reads it; may exist.

    Returns:
        `folder`.

    Raises:
        InputError: no such vocabulary.
    """
    if os.path.isfile(os.path.join(folder, _DONE_FILE)):
        return folder
    import keras

    from chemkd_tf.models.checkpoints import save_weights
    from chemkd_tf.models.classifier import ClassifierDescription, ClassifierParts
    from chemkd_tf.text.vocabulary import load_vocabulary

    keras.utils.set_random_seed(SEED)
    vocabulary = load_vocabulary(vocab_file)
    architecture = dataclasses.replace(network.architecture, vocabulary_size=vocabulary.size)
    labels = tuple(f"class {number}" for number in range(NUM_CLASSES))
    description = ClassifierDescription(architecture, labels, network.pooling, MAX_SEQ_LENGTH, True)
    built = description.build()
    os.makedirs(folder, exist_ok=True)
    ClassifierParts(description, vocabulary, built).save_description(folder)
    save_weights(built, os.path.join(folder, _DONE_FILE))
    return folder
