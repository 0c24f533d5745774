"""What a student starts from besides fresh weights: its teacher's embedding, or its teacher's layers.

`--embedding_init`: see `project_embeddings`. `--init_student_layers`: see `copy_layers`.
"""

from collections.abc import Callable, Sequence

import keras
import numpy as np

from chemkd_tf.config.student import StudentShape
from chemkd_tf.errors import InputError
from chemkd_tf.models import states
from chemkd_tf.models.architecture import Architecture
from chemkd_tf.models.checkpoints import Pretrained

PROJECTED_SCALE = 0.3

# Names of embedding layers, the same in every family and student; DistilBERT's stand one level deeper.
_TOKEN, _POSITION, _SEGMENT = "token_embedding", "position_embedding", "segment_embedding"


def initialise_student(
    shape: StudentShape, architecture: Architecture, student: keras.Model, teacher: Pretrained
) -> None:
    """Sets the weights of a fresh student as --embedding_init and --init_student_layers say.

    Args:
        shape: these settings.
        architecture: of the student.
        student: masked-LM model.
        teacher: the same of the teacher.

    Raises:
        InputError: the teacher's layers don't fit the student.
    """
    if shape.init_student_layers:
        _require_same_layers(shape, architecture, teacher.architecture)
        copy_layers(student, teacher.masked_lm, shape.init_student_layers)
    else:
        EMBEDDING_INITS[shape.embedding_init](student, teacher.masked_lm)


def project_embeddings(student: keras.Model, teacher: keras.Model) -> None:
    """Sets the student's embeddings to the teacher's, projected to the principal axes of its token embedding.

    XtremeDistil (Mukherjee and Awadallah 2020, arXiv:2004.05686) starts a student from a singular value decomposition
    of its teacher's word embeddings; here every row of the vocabulary counts the same, and the mean row is taken off
    first (it would take an axis of its own). Positions and segments go to the same axes, so that the sum of the three
    is the projection of the teacher's sum. All three are scaled by one factor, with which the token embedding's entries
    have a root mean square of `PROJECTED_SCALE`: the teacher's own scale is what its LayerNorm undoes, a BiLSTM has
    none there (docs/deviations.md has the measurements).

    Rows that the teacher hasn't got and, where the student is wider than the teacher's token embedding (ALBERT's is
    narrow), the columns beyond its width keep their fresh values.

    Args:
        student: masked-LM model with fresh weights.
        teacher: masked-LM model with the same vocabulary.
    """
    token, target = (_embedding(model, _TOKEN) for model in (teacher, student))
    mean, axes = principal_axes(token.numpy(), target.shape[1])
    axes *= PROJECTED_SCALE / np.sqrt(np.mean(np.square((token.numpy() - mean) @ axes)))
    for name, centre in ((_TOKEN, mean), (_POSITION, 0.0), (_SEGMENT, 0.0)):
        source, target = (_embedding(model, name) for model in (teacher, student))
        if source is None or target is None:
            continue
        rows = target.numpy()
        projected = (source.numpy()[: len(rows)].astype(np.float64) - centre) @ axes
        rows[: len(projected), : axes.shape[1]] = projected
        target.assign(rows)


def principal_axes(rows: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Principal component analysis: what a linear projection to `most` dimensions keeps best.

    Args:
        rows: [N, d], any floating dtype.
        most: k, dimensions to keep; with more than d all d are kept.

    Returns:
        Mean [d] and axes [d, min(k, d)], float64: orthonormal columns, that of the largest variance first. An axis
        is known up to its sign: its entry of the largest magnitude is positive.
    """
    rows = rows.astype(np.float64)
    mean = rows.mean(0)
    centred = rows - mean
    _, axes = np.linalg.eigh(centred.T @ centred)  # variances ascend
    axes = axes[:, ::-1][:, :most]
    largest = np.abs(axes).argmax(0)
    return mean, axes * np.sign(axes[largest, np.arange(axes.shape[1])])


EMBEDDING_INITS: dict[str, Callable[[keras.Model, keras.Model], None]] = {
    "auto": project_embeddings,
    "pca": project_embeddings,
    "random": lambda student, teacher: None,
}


def copy_layers(student: keras.Model, teacher: keras.Model, layers: Sequence[int]) -> None:
    """Starts a transformer from layers of its teacher (DistilBERT, arXiv:1910.01108, section 3; BERT-PKD,
    arXiv:1908.09355), and from its embedding and masked-LM head: bit-identical, positions cut to the student's.

    A teacher without segment embedding (DistilBERT) leaves the student one of zeros.

    Args:
        student: masked-LM model of a transformer of the teacher's shape.
        teacher: masked-LM model.
        layers: the teacher's layer, from 1, for each layer of the student.
    """
    for own, taken in enumerate(layers, start=1):
        _layer(student, own).set_weights(_layer(teacher, taken).get_weights())
    given, target = ({_part(v.path): v for v in _outside_layers(model)} for model in (teacher, student))
    superfluous = sorted(set(given) - set(target))
    missing = set(target) - set(given) - {f"{_SEGMENT}/embeddings"}
    if superfluous or missing:  # a factorised embedding, a head of its own
        raise InputError(
            f"--init_student_layers={','.join(map(str, layers))}: the teacher's {(superfluous or sorted(missing))[0]} "
            "has no counterpart in the student, which starts from teachers of BERT's shape only"
        )
    for part, variable in target.items():
        values = given[part].numpy()[: variable.shape[0]] if part in given else np.zeros(variable.shape)
        variable.assign(values)


def _require_same_layers(shape: StudentShape, own: Architecture, teacher: Architecture) -> None:
    """Refuses layers that the teacher hasn't got or that have another shape than the student's."""
    flag = f"--init_student_layers={','.join(map(str, shape.init_student_layers))}"
    outside = [layer for layer in shape.init_student_layers if not 1 <= layer <= teacher.num_layers]
    if outside:
        raise InputError(
            f"{flag}: teacher layer {outside[0]} doesn't exist; the teacher has layers 1 to {teacher.num_layers}"
        )
    fields = {
        "student_width": "hidden_dim",
        "student_intermediate_size": "intermediate_dim",
        "student_attention_heads": "num_heads",
    }
    if any(getattr(own, field) != getattr(teacher, field) for field in fields.values()):
        wanted = " ".join(f"--{name}={getattr(teacher, field)}" for name, field in fields.items())
        found = " ".join(f"--{name}={getattr(own, field)}" for name, field in fields.items())
        raise InputError(f"{flag} needs layers of the teacher's shape, {wanted}; this is {found}")


def _layer(masked_lm: keras.Model, number: int) -> keras.layers.Layer:
    """The transformer layer that makes the state `hidden(number)`."""
    return masked_lm.output[states.hidden(number)]._keras_history.operation


def _outside_layers(masked_lm: keras.Model) -> list[keras.Variable]:
    """Variables of the embedding and the head."""
    numbers = range(1, 1 + sum(name.startswith("hidden_") for name in masked_lm.output))
    inside = {id(variable) for number in numbers for variable in _layer(masked_lm, number).weights}
    return [variable for variable in masked_lm.weights if id(variable) not in inside]


def _part(path: str) -> str:
    """A variable's path without the layer that DistilBERT's token and position embedding share."""
    return path.removeprefix("token_and_position_embedding/")


def _embedding(model: keras.Model, name: str) -> keras.Variable | None:
    """The variable of an embedding layer; None where the model has none of this name."""
    layer = next((layer for layer in model._flatten_layers() if layer.name == name), None)
    return layer.weights[0] if layer else None
