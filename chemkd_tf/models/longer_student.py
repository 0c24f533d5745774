"""A BiLSTM student for longer texts than it was distilled on.

A transformer ends where its position table ends, and a distillation's records are no longer than what the teacher
takes. The student's LSTMs have no such limit: they carry on, and only its position table needs more rows.
"""

import dataclasses

import numpy as np

from chemkd_tf.models.architecture import StudentArchitecture
from chemkd_tf.models.checkpoints import Pretrained, build_encoder, with_head

_POSITIONS = "position_embedding/"


def lengthen(student: Pretrained, max_sequence_length: int) -> Pretrained:
    """Returns a student that takes `max_sequence_length` tokens and gives the same states for what the given one takes.

    Each position that is new gets the mean of those there, so that it says nothing about the place; a training on
    longer texts may change that. All else is bit-identical.

    Args:
        student: a BiLSTM student; stays as it is.
        max_sequence_length: in tokens, more than the student takes.
    """
    assert isinstance(student.architecture, StudentArchitecture)
    architecture = dataclasses.replace(student.architecture, max_sequence_length=max_sequence_length)
    encoder = build_encoder(architecture)
    masked_lm = with_head(encoder, architecture)
    for old, new in zip(student.masked_lm.weights, masked_lm.weights, strict=True):
        value = old.numpy()
        if old.path.startswith(_POSITIONS):
            mean = value.mean(axis=0, keepdims=True)
            value = np.concatenate([value, np.repeat(mean, max_sequence_length - len(value), axis=0)])
        new.assign(value)
    return student._replace(architecture=architecture, encoder=encoder, masked_lm=masked_lm)
