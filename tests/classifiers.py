"""Classifiers with random weights, made in a moment: what the tests of shrinking and of model cards are run on."""

import tiny

from chemkd_tf.models.classifier import ClassifierDescription, ClassifierParts, TextClassifier
from chemkd_tf.text.vocabulary import Vocabulary, vocabulary_of

# "泵站" and "硫酸钠" stay words of characters; a word of Latin letters takes the longest entries that fit.
ENTRIES = [*"酸碱盐水泵站", "pump", "pum", "##p", "##ing", "pvc", *"abcpuming", *(f"##{letter}" for letter in "abcum")]
VOCABULARY = vocabulary_of(dict.fromkeys(ENTRIES))
LABELS = ("安全", "设|备", "环保")


def random_parts(vocabulary: Vocabulary = VOCABULARY, max_seq_length: int = 12, **shape) -> ClassifierParts:
    """A classifier of `LABELS` whose weights depend on nothing but its shape."""
    architecture = tiny.student_architecture(vocabulary_size=vocabulary.size, **shape)
    description = ClassifierDescription(architecture, LABELS, "max", max_seq_length, True)
    return ClassifierParts(description, vocabulary, tiny.randomise(description.build(), seed=5))


def on_disk(folder, parts: ClassifierParts | None = None) -> TextClassifier:
    """The classifier saved and read again."""
    folder.mkdir(exist_ok=True)
    (parts or random_parts()).save(str(folder))
    return TextClassifier(str(folder))
