"""The hyper-parameter tables. Defaults are the paper's (cited in the help text) or google-research/bert's.

Each script has one frozen dataclass; every field becomes a flag of the same name (see `flags`). Nothing here imports
TensorFlow, so that `--help` is quick.
"""

from chemkd_tf.config.augmentation import AugmentationConfig
from chemkd_tf.config.classification import ClassificationConfig
from chemkd_tf.config.corpus import CleanConfig, SplitConfig, VocabularyConfig, VocabularyExtensionConfig
from chemkd_tf.config.distillation import DistillationConfig
from chemkd_tf.config.method import MethodConfig
from chemkd_tf.config.records import PretrainingDataConfig
from chemkd_tf.config.training import PretrainingConfig, TrainingConfig

__all__ = [
    "AugmentationConfig",
    "ClassificationConfig",
    "CleanConfig",
    "DistillationConfig",
    "MethodConfig",
    "PretrainingConfig",
    "PretrainingDataConfig",
    "SplitConfig",
    "TrainingConfig",
    "VocabularyConfig",
    "VocabularyExtensionConfig",
]
