"""One view of both kinds of batches, so that an objective serves the corpus and a task alike.

A corpus has predictions at its masked tokens, over the vocabulary; a task has one for each text, over the classes: as
if a text had a single masked token, `[B, 1]`. To the batch contract are added

    transfer_weight float32 [B]    what an example weighs that is learnt from the teacher
    label_weight    float32 [B]    what an example weighs whose right answers are known
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from chemkd_tf.models import states

TRANSFER_WEIGHT = "transfer_weight"
LABEL_WEIGHT = "label_weight"


def of_corpus(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """A batch of masked samples: every example is taught, and every masked token is known."""
    return {**batch, TRANSFER_WEIGHT: batch["example_weight"], LABEL_WEIGHT: batch["example_weight"]}


def of_task(batch: dict[str, tf.Tensor], teach_unlabelled_only: bool) -> dict[str, tf.Tensor]:
    """A batch of texts with and without labels.

    Args:
        batch: has `label_ids` int32 `[B]` and `has_label` float32 `[B]`.
        teach_unlabelled_only: the teacher's states and answers count for texts without a label only (paper section
            4.3.1); otherwise for all.
    """
    weight, has_label = batch["example_weight"], batch["has_label"]
    return {
        **batch,
        "mask_ids": batch["label_ids"][:, None],
        "mask_weights": tf.ones_like(weight)[:, None],
        TRANSFER_WEIGHT: weight * (1.0 - has_label) if teach_unlabelled_only else weight,
        LABEL_WEIGHT: weight * has_label,
    }


def with_one_position(outputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """States of a classifier, its logits `[B, C]` and representation `[B, H]` as of one position: `[B, 1, ...]`."""
    return {
        name: value[:, None] if name in (states.LOGITS, states.REPRESENTATION) else value
        for name, value in outputs.items()
    }


class View(NamedTuple):
    """How a distiller reads batches and states.

    Attributes:
        batch: see `of_corpus` and `of_task`.
        outputs: states as `[B, P, ...]`.
        is_task: whether only some rows may be taught.
    """

    batch: Callable[[dict], dict]
    outputs: Callable[[dict], dict]
    is_task: bool


CORPUS = View(of_corpus, dict, is_task=False)


def task(teach_unlabelled_only: bool) -> View:
    """Returns the view of a task; see `of_task`."""
    return View(lambda batch: of_task(batch, teach_unlabelled_only), with_one_position, is_task=True)
