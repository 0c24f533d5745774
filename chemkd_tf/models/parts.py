"""Which part of an encoder, with what stands on it, a variable belongs to: what a schedule freezes and unfreezes."""

import re

EMBEDDING = "embedding"
HEAD = "head"  # of the masked language model, or of the classifier
_BILSTM = re.compile(r"bilstm_(\d+)$")
_TRANSFORMER = re.compile(r"(?:transformer_layer|group)_(\d+)")  # counted from 0; an ALBERT's groups share weights
_HEADS = ("masked_lm_head", "classifier")


def layer(number: int) -> str:
    """Name of layer `number`, counted from 1."""
    return f"layer_{number}"


def part_of(path: str) -> str:
    """Returns the part that the variable with this path belongs to: `EMBEDDING`, `layer(h)` or `HEAD`.

    The matrix with which a masked-LM head goes over to the vocabulary is the token embedding: a part of the embedding.
    """
    first = path.split("/")[0]
    if found := _BILSTM.match(first):
        return layer(int(found[1]))
    if found := _TRANSFORMER.match(first):
        return layer(int(found[1]) + 1)
    return HEAD if first in _HEADS else EMBEDDING
