"""The PyTorch side of benchmarks/distiller.py: TextBrewer's GeneralDistiller, its training loop as it stands."""

import os
import queue
import sys
import tempfile
import threading

import numpy as np
from absl import flags

from benchmarks.distiller_update import LEARNING_RATE, SEED, WEIGHTS_FILE, Work, trimmed

FLAGS = flags.FLAGS
_ENDLESS = 10**9


def general_distiller(gathered: bool) -> Work:
    """`GeneralDistiller` with a match for the embedding and for each layer, and the cross-entropy of the logits.

    Its losses are ours, name by name: hidden_mse behind a linear projection (which has a bias; it begins at 0) with a
    mask of the padding, kd_loss "ce" at temperature 1. The teacher is BertForMaskedLM of Hugging Face transformers, the
    student torch.nn.LSTM in both directions under a head of the same shape.

    Args:
        gathered: whether both models are given the masked positions and compute their logits alone, on trimmed batches;
            otherwise the logits of every position, of which GeneralDistiller selects those of `logits_mask`, as its
            documentation has it for tokens.
    """
    sys.path.insert(0, FLAGS.textbrewer_source)
    try:
        import textbrewer
    except ImportError as error:
        sys.exit(
            f"error: --textbrewer_source={FLAGS.textbrewer_source or '(empty)'}: can't import textbrewer ({error})"
        )
    import torch

    from benchmarks.distiller_torch_models import Student, Teacher

    torch.manual_seed(SEED)
    shape = FLAGS.vocab_size, FLAGS.num_layers, FLAGS.hidden_size
    teacher = Teacher(*shape, gathered)
    student = Student(FLAGS.vocab_size, len(FLAGS.layer_map), FLAGS.student_width, gathered)
    matches = [
        {
            "layer_T": teacher_layer, "layer_S": number, "feature": "hidden", "loss": "hidden_mse", "weight": 1,
            "proj": ["linear", FLAGS.student_width, FLAGS.hidden_size],
        }
        for number, teacher_layer in enumerate([0, *map(int, FLAGS.layer_map)])
    ]  # fmt: skip

    def adaptor(batch, outputs):
        selected = {} if gathered else {"logits_mask": batch["logits_mask"]}
        return {**outputs, **selected, "inputs_mask": batch["padding_mask"]}

    distiller = textbrewer.GeneralDistiller(
        train_config=textbrewer.TrainingConfig(
            device="cpu", output_dir=tempfile.mkdtemp(dir=FLAGS.folder), ckpt_steps=_ENDLESS
        ),
        distill_config=textbrewer.DistillationConfig(
            temperature=1, kd_loss_type="ce", kd_loss_weight=1, hard_label_weight=0, intermediate_matches=matches
        ),
        model_T=teacher,
        model_S=student,
        adaptor_T=adaptor,
        adaptor_S=adaptor,
    )
    with np.load(os.path.join(FLAGS.folder, WEIGHTS_FILE)) as weights:
        teacher.take_weights({name[8:]: weights[name] for name in weights.files if name.startswith("teacher/")})
        student.take_weights({name[8:]: weights[name] for name in weights.files if name.startswith("student/")})
        with torch.no_grad():
            for number, projection in enumerate(distiller.projs):
                projection.weight.copy_(torch.tensor(weights[f"projection/{number}"].T))
                projection.bias.zero_()

    def prepare(arrays):
        arrays = trimmed(arrays) if gathered else arrays
        batch = {name: torch.tensor(arrays[name]).long() for name in ("token_ids", "segment_ids", "padding_mask")}
        if gathered:
            batch["mask_positions"] = torch.tensor(arrays["mask_positions"]).long()
        else:
            batch["logits_mask"] = torch.zeros_like(batch["token_ids"])
            rows, columns = np.nonzero(arrays["mask_weights"])
            batch["logits_mask"][rows, arrays["mask_positions"][rows, columns]] = 1
        return batch

    return Work(prepare, _TrainingLoop(distiller, torch.optim.AdamW(student.parameters(), LEARNING_RATE)).update)


class _TrainingLoop:
    """GeneralDistiller's own loop, which asks for its next batch when it has made an update."""

    def __init__(self, distiller, optimizer):
        self._distiller, self._optimizer = distiller, optimizer
        self._batches, self._losses = queue.Queue(), queue.Queue()
        self._loss = None
        distiller.tb_writer = self  # where the loop writes what an update found
        threading.Thread(target=self._run, daemon=True).start()
        self._losses.get()

    def update(self, batch) -> float:
        """Hands the loop its next batch and waits until it wants another."""
        self._batches.put(batch)
        loss = self._losses.get()
        if isinstance(loss, BaseException):
            raise loss
        return loss

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """Takes the place of TensorBoard's."""
        if name.endswith("/total_loss"):
            self._loss = value

    def _asked_for(self):
        while True:
            self._losses.put(self._loss)
            yield self._batches.get()

    def _run(self) -> None:
        try:
            with self._distiller:
                self._distiller.train(
                    self._optimizer, self._asked_for(), num_steps=_ENDLESS, max_grad_norm=1.0, callback=None
                )
        except BaseException as error:
            self._losses.put(error)
