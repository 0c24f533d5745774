"""Step checkpoints: everything that is trained comes back, another model is refused."""

import numpy as np
import pytest
import tiny

from chemkd_tf.errors import InputError
from chemkd_tf.training.checkpoints import StepCheckpoints


def updated(model, steps=1):
    for step in range(steps):
        model.train_step(tiny.tensors(tiny.batch(seed=step)))
    return model


def everything(model):
    return {v.path: v.numpy() for v in [*model.trainable_variables, *model.optimizer.variables]}


@pytest.fixture(scope="module")
def trained():
    return updated(tiny.one_layer_distiller(teacher={"dropout": 0.1}), steps=2)


@pytest.fixture
def saved(trained, tmp_path):
    checkpoints = StepCheckpoints(str(tmp_path), trained)
    checkpoints.host.values.update(best_loss=0.125, evaluations_without_improvement=2)
    checkpoints.save(2)
    return str(tmp_path)


def test_weights_projections_optimizer_and_host_values_come_back(trained, saved):
    fresh = tiny.randomise(tiny.one_layer_distiller(), seed=99)
    expected = everything(trained)
    before = everything(fresh)
    assert set(before) == set(expected)
    assert sum(np.array_equal(before[path], expected[path]) for path in expected) <= 1
    checkpoints = StepCheckpoints(saved, fresh)
    assert checkpoints.restore() == 2
    for path, value in everything(fresh).items():
        np.testing.assert_array_equal(value, expected[path], err_msg=path)
    assert int(fresh.optimizer.iterations) == 2
    assert checkpoints.host.values == {"best_loss": 0.125, "evaluations_without_improvement": 2, "step": 2}


def test_the_teacher_is_not_in_a_checkpoint(trained, saved):
    other_teacher = tiny.one_layer_distiller(teacher={"intermediate_dim": 16})
    StepCheckpoints(saved, other_teacher).restore()
    np.testing.assert_array_equal(other_teacher.student.get_weights()[0], trained.student.get_weights()[0])


def test_without_a_checkpoint_nothing_has_been_done(trained, tmp_path):
    before = everything(trained)
    assert StepCheckpoints(str(tmp_path), trained).restore() == 0
    for path, value in everything(trained).items():
        np.testing.assert_array_equal(value, before[path])


def test_what_the_host_remembers_can_be_read_without_a_model(trained, tmp_path):
    assert StepCheckpoints.peek(str(tmp_path)) == {}
    checkpoints = StepCheckpoints(str(tmp_path), trained)
    checkpoints.host.values["phase"] = 3
    checkpoints.save(5)
    assert StepCheckpoints.peek(str(tmp_path)) == {"phase": 3, "step": 5}


def test_the_newest_of_two_kept_checkpoints_is_restored(trained, tmp_path):
    checkpoints = StepCheckpoints(str(tmp_path), trained)
    for step in (5, 7, 11):
        checkpoints.save(step)
    assert StepCheckpoints(str(tmp_path), trained).restore() == 11
    assert sorted(path.name for path in tmp_path.glob("*.index")) == ["ckpt-11.index", "ckpt-7.index"]


@pytest.mark.parametrize(
    "other",
    [
        lambda: tiny.one_layer_distiller(student={"hidden_dim": 12}, config=tiny.one_layer_config(student_width=12)),
        lambda: tiny.one_layer_distiller(student={"embedding": "token"}),
        lambda: tiny.distiller(),
        lambda: tiny.language_model(num_layers=1),
    ],
    ids=["wider", "fewer weights", "more layers", "another stage"],
)
def test_a_checkpoint_of_another_model_is_refused_by_name(saved, other):
    with pytest.raises(InputError, match="ckpt-2: can't be restored .*delete its folder to begin again"):
        StepCheckpoints(saved, other()).restore()


@pytest.mark.parametrize("damage", ["index cut", "data cut", "data removed", "data overwritten"])
def test_a_damaged_checkpoint_is_refused_by_name(trained, tmp_path, damage):
    StepCheckpoints(str(tmp_path), trained).save(2)
    path = tmp_path / ("ckpt-2.index" if damage.startswith("index") else "ckpt-2.data-00000-of-00001")
    content = path.read_bytes()
    path.unlink()
    if damage.endswith("cut"):
        path.write_bytes(content[: len(content) // 2])
    elif damage.endswith("overwritten"):
        path.write_bytes(bytes(len(content)))
    assert StepCheckpoints.peek(str(tmp_path)).get("step", 2) == 2  # what can't be read is for `restore` to refuse
    with pytest.raises(InputError, match="ckpt-2: can't be restored"):
        StepCheckpoints(str(tmp_path), trained).restore()
