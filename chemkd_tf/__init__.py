"""Chinese domain language models by layered knowledge distillation (Li et al. 2021, DOI 10.1155/2021/5753693)."""

import os

# All before TensorFlow is first imported. Its start-up notes about CPU features and absent GPUs would drown ours.
# When one of several workers is lost, TensorFlow writes pages about it around the line that says what to do.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3" if os.environ.get("TF_CONFIG") else "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
# TensorFlow takes oneDNN's kernels by itself only on processors with AVX-512 VNNI; with AVX2 alone they are faster too.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

__version__ = "0.1.0"
