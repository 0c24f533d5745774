"""Kinds of students: --student to the architecture that its flags describe. A new kind is a new line."""

from collections.abc import Callable

from chemkd_tf.config.student import StudentShape
from chemkd_tf.models.architecture import Architecture, StudentArchitecture, TeacherArchitecture


def bilstm(shape: StudentShape, teacher: TeacherArchitecture, max_sequence_length: int) -> StudentArchitecture:
    """The paper's student (section 3.3)."""
    return StudentArchitecture(
        vocabulary_size=teacher.vocabulary_size,
        num_layers=shape.num_student_layers,
        hidden_dim=shape.student_width,
        units_per_direction=shape.units_per_direction,
        embedding=shape.student_embedding,
        max_sequence_length=max_sequence_length,
    )


def transformer(shape: StudentShape, teacher: TeacherArchitecture, max_sequence_length: int) -> TeacherArchitecture:
    """A BERT of another size, as TinyBERT, BERT-PKD and DistilBERT have it: a teacher to everything that reads it.

    Its activations, dropout and the epsilon of its LayerNorm are the teacher's. Its embedding is as wide as its layers
    and its masked-LM head is tied, whatever the teacher's family does.
    """
    return TeacherArchitecture(
        vocabulary_size=teacher.vocabulary_size,
        num_layers=shape.num_student_layers,
        num_heads=shape.student_attention_heads or _most_heads(shape.student_width, teacher.num_heads),
        hidden_dim=shape.student_width,
        intermediate_dim=shape.student_intermediate_size or 4 * shape.student_width,
        dropout=teacher.dropout,
        max_sequence_length=max_sequence_length,
        activation=teacher.activation,
        head_activation=teacher.head_activation,
        layer_norm_epsilon=teacher.layer_norm_epsilon,
    )


STUDENTS: dict[str, Callable[[StudentShape, TeacherArchitecture, int], Architecture]] = {
    "bilstm": bilstm,
    "transformer": transformer,
}


def student_architecture(shape: StudentShape, teacher: TeacherArchitecture, max_sequence_length: int) -> Architecture:
    """Returns the architecture of --student.

    Args:
        shape: settings of the student, checked (`require_student`).
        teacher: whose vocabulary it shares.
        max_sequence_length: of the longest records.
    """
    return STUDENTS[shape.student](shape, teacher, max_sequence_length)


def _most_heads(width: int, at_most: int) -> int:
    """The largest number of heads up to `at_most` that divides `width`."""
    return max(heads for heads in range(1, at_most + 1) if width % heads == 0)
