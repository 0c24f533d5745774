"""The encoder that was best on held-out text, as a folder that the next stage can load like the run's own."""

import os
import shutil

import keras

from chemkd_tf.models.architecture import Architecture
from chemkd_tf.models.checkpoints import WEIGHTS_FILE, save_pretrained, save_weights


def save_best(
    directory: str, architecture: Architecture, do_lower_case: bool, masked_lm: keras.Model, vocabulary_file: str
) -> None:
    """Writes what `save_pretrained` writes to `directory`, which appears when it is complete.

    From then on its weights alone are replaced, at once: the other files stay the same as long as a run lasts.
    """
    if os.path.isdir(directory):
        save_weights(masked_lm, os.path.join(directory, WEIGHTS_FILE))
        return
    partial = f"{directory}.partial"
    shutil.rmtree(partial, ignore_errors=True)  # what a kill left
    os.makedirs(partial)
    save_pretrained(partial, architecture, do_lower_case, masked_lm, vocabulary_file)
    os.replace(partial, directory)
