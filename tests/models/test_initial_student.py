"""What a student starts from: the best linear projection of the teacher's embedding, or layers bit for bit."""

import numpy as np
import pytest
import tiny

from chemkd_tf.config.student import StudentShape
from chemkd_tf.errors import InputError
from chemkd_tf.models.checkpoints import Pretrained, build_encoder, build_masked_lm
from chemkd_tf.models.initial_student import EMBEDDING_INITS, copy_layers, initialise_student, principal_axes
from chemkd_tf.models.students import student_architecture


def pretrained(architecture, seed: int = 3) -> Pretrained:
    return Pretrained(architecture, True, build_encoder(architecture), tiny.masked_lm(architecture, seed), "vocab.txt")


def embeddings(model) -> dict[str, np.ndarray]:
    return {v.path.split("/")[-2]: v.numpy() for v in model.weights if v.path.endswith("embedding/embeddings")}


def initialised(teacher: Pretrained, **changes):
    """(student before, student after) of these settings."""
    shape = StudentShape(**changes)
    shape.require_student()
    architecture = student_architecture(shape, teacher.architecture, tiny.TOKENS)
    student = build_masked_lm(architecture)
    before = {variable.path: variable.numpy() for variable in student.weights}
    initialise_student(shape, architecture, student, teacher)
    return before, student


def random_rows(seed: int, count: int = 300, width: int = 24) -> np.ndarray:
    """Rows of unequal variances in mixed directions, far from the origin."""
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(count, width)) * np.geomspace(3, 0.05, width) @ rng.normal(size=(width, width))
    return (mixed + rng.normal(2, 1, width)).astype("float32")


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kept", [1, 7, 24])
def test_no_projection_keeps_more_than_the_principal_axes(seed, kept):
    rows = random_rows(seed)
    mean, axes = principal_axes(rows, kept)
    np.testing.assert_allclose(mean, rows.astype("float64").mean(0))
    np.testing.assert_allclose(axes.T @ axes, np.eye(kept), atol=1e-9)
    centred = rows.astype("float64") - rows.astype("float64").mean(0)
    projected = centred @ axes
    lost = np.square(centred - projected @ axes.T).sum()
    # Eckart and Young: no matrix of this rank is nearer than the cut singular value decomposition.
    singular_values = np.linalg.svd(centred, compute_uv=False)
    np.testing.assert_allclose(lost, np.square(singular_values[kept:]).sum(), rtol=1e-6, atol=1e-6)
    covariance = projected.T @ projected
    np.testing.assert_allclose(covariance, np.diag(np.square(singular_values[:kept])), atol=1e-6 * covariance.max())


def test_the_sign_of_an_axis_does_not_depend_on_the_sign_of_the_rows():
    rows = random_rows(1)
    _, axes = principal_axes(rows, 24)
    _, mirrored = principal_axes(-rows, 24)
    np.testing.assert_allclose(mirrored, axes, atol=1e-9)
    for axis in axes.T:
        assert axis[np.abs(axis).argmax()] > 0


@pytest.mark.parametrize(
    "changes", [{"student_width": 10}, {"student": "transformer", "student_width": 10, "student_attention_heads": 2}]
)
def test_every_embedding_is_projected_to_the_axes_of_the_token_embedding(changes):
    teacher = pretrained(tiny.teacher_architecture())
    before, student = initialised(teacher, embedding_init="pca", **changes)
    found, source = embeddings(student), embeddings(teacher.masked_lm)
    tokens = source["token_embedding"].astype("float64")
    centred = tokens - tokens.mean(0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    # Up to the sign of an axis, which the token embedding tells; scaled to a root mean square of 0.3.
    projected = centred @ axes[:10].T
    signs = np.sign((found["token_embedding"] * projected).sum(0)) * 0.3 / np.sqrt(np.square(projected).mean())
    expected = {
        "token_embedding": centred @ axes[:10].T * signs,
        "position_embedding": source["position_embedding"][: tiny.TOKENS] @ axes[:10].T * signs,
        "segment_embedding": source["segment_embedding"] @ axes[:10].T * signs,
    }
    assert set(found) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-4, err_msg=name)
    for variable in student.weights:  # and nothing else
        if not variable.path.endswith("embedding/embeddings"):
            np.testing.assert_array_equal(variable.numpy(), before[variable.path])


def test_a_student_wider_than_the_token_embedding_keeps_fresh_columns():
    teacher = pretrained(tiny.teacher_architecture(family="albert", embedding_dim=6))
    before, student = initialised(teacher, embedding_init="pca", student_width=10)
    found = embeddings(student)["token_embedding"]
    np.testing.assert_array_equal(found[:, 6:], before["token_embedding/embeddings"][:, 6:])
    tokens = embeddings(teacher.masked_lm)["token_embedding"].astype("float64")
    distances = [np.linalg.norm(x[:, None] - x[None], axis=-1) for x in (found[:, :6], tokens)]
    np.testing.assert_allclose(*(d / d.mean() for d in distances), atol=1e-4)  # all six axes: a rotation, scaled


def test_a_teacher_without_segments_leaves_the_students_fresh():
    teacher = pretrained(tiny.teacher_architecture(family="distilbert", num_segments=0))
    before, student = initialised(teacher, embedding_init="pca", student_width=10)
    found = embeddings(student)
    np.testing.assert_array_equal(found["segment_embedding"], before["segment_embedding/embeddings"])
    for name in ("token_embedding", "position_embedding"):
        assert np.abs(found[name] - before[f"{name}/embeddings"]).min(axis=1).max() > 0


def test_the_token_embedding_alone_is_projected_where_there_is_no_other():
    teacher = pretrained(tiny.teacher_architecture())
    _, student = initialised(teacher, embedding_init="pca", student_width=10, student_embedding="token")
    _, full = initialised(teacher, embedding_init="pca", student_width=10)
    assert set(embeddings(student)) == {"token_embedding"}
    np.testing.assert_array_equal(embeddings(student)["token_embedding"], embeddings(full)["token_embedding"])


def test_fresh_weights_stay_as_they_are():
    before, student = initialised(pretrained(tiny.teacher_architecture()), embedding_init="random", student_width=10)
    for variable in student.weights:
        np.testing.assert_array_equal(variable.numpy(), before[variable.path])


def test_without_a_flag_a_student_starts_from_the_projection():
    teacher = pretrained(tiny.teacher_architecture())
    _, student = initialised(teacher, student_width=10)
    _, projected = initialised(teacher, student_width=10, embedding_init="pca")
    for name, values in embeddings(projected).items():
        np.testing.assert_array_equal(embeddings(student)[name], values)


def test_every_value_of_the_flag_has_its_function():
    assert set(EMBEDDING_INITS) == {"auto", "pca", "random"}


FROM_LAYERS = dict(student="transformer", num_student_layers=2, student_width=24, student_intermediate_size=32)


@pytest.mark.parametrize("family", ["bert", "electra", "distilbert"])
def test_layers_embedding_and_head_are_bit_identical(family):
    special = {"distilbert": {"num_segments": 0, "activation": "gelu"}}.get(family, {})
    teacher = pretrained(tiny.teacher_architecture(family=family, num_layers=4, **special))
    _, student = initialised(teacher, init_student_layers=(4, 2), **FROM_LAYERS)
    of_teacher = {v.path: v.numpy() for v in teacher.masked_lm.weights}
    checked = 0
    for variable in student.weights:
        path = variable.path.replace("transformer_layer_0/", "transformer_layer_3/")  # layer 2 is ..._1 in both
        if family == "distilbert" and path.split("/")[0] in ("token_embedding", "position_embedding"):
            path = "token_and_position_embedding/" + path
        if family == "distilbert" and path == "segment_embedding/embeddings":
            expected = np.zeros((2, 24))
        else:
            expected = of_teacher[path]
        if path.endswith("position_embedding/embeddings"):
            expected = expected[: tiny.TOKENS]
        np.testing.assert_array_equal(variable.numpy(), expected, err_msg=variable.path)
        checked += 1
    assert checked == 5 + 2 * 16 + 5


@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_all_layers_of_the_teacher_make_the_teacher(family):
    special = {"distilbert": {"num_segments": 0, "activation": "gelu"}}.get(family, {})
    teacher = pretrained(tiny.teacher_architecture(family=family, **special))
    _, student = initialised(teacher, init_student_layers=(1, 2), **FROM_LAYERS)
    inputs = tiny.select(tiny.batch(), tiny.MASKED_LM_INPUTS)
    expected = teacher.masked_lm(inputs)
    for name, state in student(inputs).items():
        np.testing.assert_allclose(state, expected[name], atol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"student_width": 12, "student_intermediate_size": 32},
         "--init_student_layers=1,2 needs layers of the teacher's shape, --student_width=24 "
         "--student_intermediate_size=32 --student_attention_heads=2; this is --student_width=12 "
         "--student_intermediate_size=32 --student_attention_heads=2"),
        ({"student_intermediate_size": 0}, "this is --student_width=24 --student_intermediate_size=96 "),
        ({"student_attention_heads": 3}, "--student_attention_heads=2; this is .* --student_attention_heads=3"),
        ({"init_student_layers": (1, 3)},
         "--init_student_layers=1,3: teacher layer 3 doesn't exist; the teacher has layers 1 to 2"),
        ({"init_student_layers": (0, 1)}, "--init_student_layers=0,1: teacher layer 0 doesn't exist"),
    ],
)  # fmt: skip
def test_layers_that_do_not_fit_are_refused(changes, message):
    teacher = pretrained(tiny.teacher_architecture())
    with pytest.raises(InputError, match=message):
        initialised(teacher, **{**FROM_LAYERS, "init_student_layers": (1, 2), **changes})


@pytest.mark.parametrize(
    ("shape", "part"),
    [({"family": "albert", "embedding_dim": 6}, "embedding_projection/bias"),
     ({"tied_decoder": False}, "masked_lm_head/output_kernel")],
)  # fmt: skip
def test_a_teacher_with_parts_that_the_student_has_not_is_refused(shape, part):
    teacher = build_masked_lm(tiny.teacher_architecture(**shape))
    student = tiny.masked_lm(tiny.teacher_architecture(max_sequence_length=tiny.TOKENS))
    with pytest.raises(InputError, match=f"--init_student_layers=1,2: the teacher's {part} has no counterpart"):
        copy_layers(student, teacher, (1, 2))
