"""Chinese domain language models by layered knowledge distillation (Li et al. 2021, DOI 10.1155/2021/5753693)."""

import os

# Before TensorFlow is first imported: its start-up notes about CPU features and absent GPUs would drown ours.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

__version__ = "0.1.0"
