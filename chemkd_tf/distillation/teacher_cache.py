"""What a teacher says of texts that don't change, asked for once and kept on disk (paper section 4.3.1)."""

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from chemkd_tf.atomic import write_json
from chemkd_tf.errors import InputError
from chemkd_tf.models import states
from chemkd_tf.progress import Progress
from chemkd_tf.workdir import read_json

_GIGABYTE = 1e9
_ITEM_BYTES = 4  # float32: as exact as asking at every update
_PROGRESS_FILE = "progress.json"


class TeacherCache:
    """States of a frozen teacher for N texts, an array on disk for each state.

    Args:
        teacher: returns states, see `states`; logits `[B, C]` and representations `[B, H]` of a classifier among them.
        state_names: what is kept.
        num_texts: N.
        max_tokens: T, to which all texts are padded.
    """

    def __init__(self, teacher: keras.Model, state_names: Sequence[str], num_texts: int, max_tokens: int):
        self._teacher = teacher
        self._names = sorted(state_names)
        self.shapes = {
            # None: the batch, then the tokens (of a query, and of a key).
            name: (num_texts, *(max_tokens if size is None else size for size in teacher.output[name].shape[1:]))
            for name in self._names
        }

    @property
    def num_bytes(self) -> int:
        """Size on disk."""
        return sum(_ITEM_BYTES * math.prod(shape) for shape in self.shapes.values())

    def require_space(self, limit_gb: float) -> None:
        """Refuses more than `limit_gb` gigabytes (10^9 bytes).

        Raises:
            InputError: says how much it would be.
        """
        if self.num_bytes > limit_gb * _GIGABYTE:
            shapes = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in self.shapes.items())
            raise InputError(
                f"--teacher_cache_gb={limit_gb:g}: what the teacher says would take {self.num_bytes / _GIGABYTE:.3g} "
                f"GB ({shapes}); give more, a smaller --max_unlabelled_texts or --max_seq_length, a method with fewer "
                "states, or --teacher_cache_gb=0 to ask the teacher at every update"
            )

    def fill(self, directory: str, batches: tf.data.Dataset, identity: str) -> dict[str, np.ndarray]:
        """Asks the teacher for what isn't there yet, with progress; a killed run goes on where it was.

        Args:
            directory: where the arrays lie, in a folder of their own for each `identity`; several runs may share it.
            batches: all texts in order, shapes as in the batch contract; rows behind the last text are passed over.
            identity: of the teacher's weights and the texts: other ones are asked for anew.

        Returns:
            Name of a state to float32 `[N, ...]`, read from disk when it is looked at. What stands on padding is
            arbitrary.
        """
        key = hashlib.sha256(json.dumps([identity, self.shapes]).encode()).hexdigest()[:16]
        folder = os.path.join(directory, key)
        os.makedirs(folder, exist_ok=True)
        arrays = {name: self._open(os.path.join(folder, f"{name}.npy"), shape) for name, shape in self.shapes.items()}
        num_texts = next(iter(self.shapes.values()))[0]
        progress_file = os.path.join(folder, _PROGRESS_FILE)
        done = read_json(progress_file)["done"] if os.path.exists(progress_file) else 0
        if done < num_texts:
            self._ask(arrays, batches, done, num_texts, progress_file)
        return {name: np.load(os.path.join(folder, f"{name}.npy"), mmap_mode="r") for name in self._names}

    def _ask(self, arrays: dict, batches: tf.data.Dataset, done: int, num_texts: int, progress_file: str) -> None:
        ask = tf.function(
            lambda inputs: {
                name: tf.cast(state, tf.float32)
                for name, state in self._teacher(inputs, training=False).items()
                if name in arrays
            },
            reduce_retracing=True,
            autograph=False,
        )
        progress = Progress("asking the teacher", num_texts, "texts", initial=done)
        start = 0
        for batch in batches:
            end = min(start + len(batch["padding_mask"]), num_texts)
            if end > done:
                for name, found in ask(states.select(batch, states.ENCODER_INPUTS)).items():
                    found = found.numpy()[: end - start]
                    arrays[name][start:end][tuple(slice(size) for size in found.shape)] = found
                for array in arrays.values():
                    array.flush()
                write_json(progress_file, {"done": end})
                progress.update(end)
            start = end
        progress.close()

    @staticmethod
    def _open(path: str, shape: tuple[int, ...]) -> np.memmap:
        if os.path.exists(path):
            try:
                return np.lib.format.open_memmap(path, "r+")
            except ValueError:  # killed before the array had its size
                pass
        # A file of holes: what isn't written takes no space. It appears whole, and once: another run may be asking the
        # same teacher about the same texts at this moment, and what it has written must stay.
        new = f"{path}.{os.getpid()}"
        np.lib.format.open_memmap(new, "w+", np.float32, shape).flush()
        if os.path.exists(path):  # unreadable, see above
            os.replace(new, path)
        else:
            with contextlib.suppress(FileExistsError):
                os.link(new, path)
            os.remove(new)
        return np.lib.format.open_memmap(path, "r+")
