"""Kinds of students: golden sizes, and an architecture for every value of --student."""

import dataclasses

import pytest
import tiny

from chemkd_tf.config import DistillationConfig
from chemkd_tf.config.student import StudentShape
from chemkd_tf.models.architecture import StudentArchitecture, TeacherArchitecture
from chemkd_tf.models.checkpoints import build_encoder, build_masked_lm
from chemkd_tf.models.students import STUDENTS, student_architecture

TEACHER = TeacherArchitecture()
# Shape of a transformer student, vocabulary and positions: parameters without and with the masked-LM head.
#
# TinyBERT's 4 x 312 with the English vocabulary: (30,522 tokens + 512 positions + 2 segments) * 312 = 9,683,232;
# LayerNorm 624; a layer's attention 4 * (312 * 312 + 312) = 390,624, feed-forward 312 * 1,200 + 1,200 + 1,200 * 312
# + 312 = 750,312 and two LayerNorms 1,248, together 1,142,184. Head: 312 * 312 + 312 + 624 + a bias per entry.
# (The published model has 14,350,248: these and a pooler of 312 * 312 + 312.)
# In Chinese: 21,128 tokens + 128 positions + 2 segments = 21,258 rows; 21,258 * 312 + 624 + 4 * 1,142,184.
# 6 x 768 is BERT-base cut in half: see GOLDEN_COUNTS of test_heads.py, with 384 positions fewer.
GOLDEN_COUNTS = {
    ((4, 312, 12, 1200), 30522, 512): (14_350_248 - 97_656, 14_350_248 - 97_656 + 98_280 + 30_522),
    ((4, 312, 12, 1200), 21128, 128): (11_201_856, 11_201_856 + 98_280 + 21_128),
    ((6, 768, 12, 0), 21128, 128): (59_149_824 - 384 * 768, 59_763_080 - 384 * 768),
}


def shape(**changes) -> StudentShape:
    checked = StudentShape(**changes)
    checked.require_student()
    return checked


@pytest.mark.parametrize(("size", "vocabulary_size", "positions"), GOLDEN_COUNTS)
def test_a_transformer_student_has_the_golden_number_of_parameters(size, vocabulary_size, positions):
    layers, width, heads, intermediate = size
    settings = shape(
        student="transformer", num_student_layers=layers, student_width=width, student_attention_heads=heads,
        student_intermediate_size=intermediate,
    )  # fmt: skip
    teacher = dataclasses.replace(TEACHER, vocabulary_size=vocabulary_size)
    architecture = student_architecture(settings, teacher, positions)
    counts = build_encoder(architecture).count_params(), build_masked_lm(architecture).count_params()
    assert counts == GOLDEN_COUNTS[size, vocabulary_size, positions]


def test_every_value_of_the_flag_has_its_architecture():
    (field,) = [field for field in dataclasses.fields(DistillationConfig) if field.name == "student"]
    assert set(field.metadata["choices"]) == set(STUDENTS)


def test_the_bilstm_is_the_papers():
    assert student_architecture(shape(), TEACHER, 128) == StudentArchitecture()
    settings = shape(units_per_direction=7, student_embedding="token", num_student_layers=1, student_width=9)
    expected = StudentArchitecture(
        vocabulary_size=21128, num_layers=1, hidden_dim=9, units_per_direction=7, embedding="token",
        max_sequence_length=24,
    )  # fmt: skip
    assert student_architecture(settings, TEACHER, 24) == expected


@pytest.mark.parametrize(("width", "heads"), [(768, 12), (312, 12), (200, 10), (256, 8), (13, 1), (202, 2)])
def test_a_transformer_has_the_heads_of_its_teacher_or_the_most_below_that_divide_its_width(width, heads):
    architecture = student_architecture(shape(student="transformer", student_width=width), TEACHER, 128)
    assert (architecture.num_heads, architecture.intermediate_dim) == (heads, 4 * width)


def test_a_transformer_computes_as_its_teacher_does_but_is_plain():
    teacher = tiny.teacher_architecture(
        family="albert", embedding_dim=6, num_groups=2, num_inner_repetitions=2, dropout=0.25, activation="relu",
        head_activation="gelu_tanh", layer_norm_epsilon=1e-6, tied_decoder=False, num_segments=3,
    )  # fmt: skip
    settings = shape(student="transformer", student_width=16, num_student_layers=4)
    assert student_architecture(settings, teacher, 17) == TeacherArchitecture(
        vocabulary_size=tiny.VOCABULARY, num_layers=4, num_heads=2, hidden_dim=16, intermediate_dim=64, dropout=0.25,
        max_sequence_length=17, activation="relu", head_activation="gelu_tanh", layer_norm_epsilon=1e-6,
    )  # fmt: skip


@pytest.mark.parametrize(
    "architecture",
    [
        tiny.student_architecture(),
        tiny.student_architecture(units_per_direction=7),
        tiny.student_architecture(hidden_dim=9, units_per_direction=3),
        tiny.teacher_architecture(),
        tiny.teacher_architecture(family="albert", embedding_dim=6),
    ],
)
def test_an_architecture_knows_how_wide_its_states_are(architecture):
    output = build_encoder(architecture).output
    assert output["embedding"].shape[-1] == architecture.embedding_width
    assert output["hidden_1"].shape[-1] == output["hidden_2"].shape[-1] == architecture.layer_width
