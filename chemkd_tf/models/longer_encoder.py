"""An encoder for longer texts than it was trained on: more rows in its position table, all else bit-identical."""

import dataclasses
import re

import numpy as np

from chemkd_tf.models.checkpoints import Pretrained, build_encoder, with_head

_POSITIONS = re.compile(r"(^|/)position_embedding/")


def lengthen(short: Pretrained, max_sequence_length: int) -> Pretrained:
    """Returns an encoder that takes `max_sequence_length` tokens and gives the same states for what `short` takes.

    What the new positions begin as: `NEW_POSITIONS`. A training on longer texts may change it.

    Args:
        short: any encoder; stays as it is.
        max_sequence_length: in tokens, more than it takes.
    """
    architecture = dataclasses.replace(short.architecture, max_sequence_length=max_sequence_length)
    encoder = build_encoder(architecture)
    masked_lm = with_head(encoder, architecture)
    begin = NEW_POSITIONS[architecture.kind]
    for old, new in zip(short.masked_lm.weights, masked_lm.weights, strict=True):
        value = old.numpy()
        if _POSITIONS.search(old.path):
            value = np.concatenate([value, begin(value, max_sequence_length - len(value))])
        new.assign(value)
    return short._replace(architecture=architecture, encoder=encoder, masked_lm=masked_lm)


def the_mean(table: np.ndarray, num_new: int) -> np.ndarray:
    """Rows that say nothing about the place: an LSTM knows it without them."""
    return np.repeat(table.mean(axis=0, keepdims=True), num_new, axis=0)


def the_same_again(table: np.ndarray, num_new: int) -> np.ndarray:
    """Rows that tell neighbours apart, which attention can't without them (Longformer, arXiv:2004.05150, section 5)."""
    return np.resize(table, (num_new, table.shape[1]))


# By kind of encoder: the position table [positions, d] and how many rows follow it, to those rows.
NEW_POSITIONS = {"student": the_mean, "teacher": the_same_again}
