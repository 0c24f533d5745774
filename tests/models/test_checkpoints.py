"""An encoder on disk: what is saved is what is loaded, and what is damaged is named."""

import os

import numpy as np
import pytest
import tiny

from chemkd_tf.errors import InputError
from chemkd_tf.models.architecture import load_architecture, save_architecture
from chemkd_tf.models.checkpoints import load_pretrained, load_weights, save_pretrained, save_weights

ARCHITECTURES = {
    "teacher": tiny.teacher_architecture(dropout=0.1),
    "student": tiny.student_architecture(units_per_direction=7),
    "token embedding": tiny.student_architecture(embedding="token"),
}


@pytest.fixture
def vocabulary_file(tmp_path):
    path = tmp_path / "some_vocab.txt"
    path.write_text("[PAD]\n[UNK]\n氯\n", encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_saved_model_comes_back_bit_for_bit(tmp_path, vocabulary_file, name):
    model = tiny.masked_lm(ARCHITECTURES[name], seed=5)
    save_pretrained(str(tmp_path), ARCHITECTURES[name], False, model, vocabulary_file)
    loaded = load_pretrained(str(tmp_path), "teacher_dir")
    assert loaded.architecture == ARCHITECTURES[name]
    assert loaded.do_lower_case is False
    assert (tmp_path / "vocab.txt").read_bytes() == (tmp_path / "some_vocab.txt").read_bytes()
    assert loaded.vocabulary_file == str(tmp_path / "vocab.txt")
    expected = {variable.path: variable.numpy() for variable in model.weights}
    assert {variable.path for variable in loaded.masked_lm.weights} == set(expected)
    for variable in loaded.masked_lm.weights:
        np.testing.assert_array_equal(variable.numpy(), expected[variable.path])
    inputs = tiny.select(tiny.batch(), tiny.MASKED_LM_INPUTS)
    np.testing.assert_array_equal(loaded.masked_lm(inputs)["logits"], model(inputs)["logits"])
    assert sorted(os.listdir(tmp_path)) == ["architecture.json", "model.weights.h5", "some_vocab.txt", "vocab.txt"]


@pytest.fixture
def saved(tmp_path, vocabulary_file):
    architecture = tiny.student_architecture(num_layers=1)
    model = tiny.masked_lm(architecture)
    save_pretrained(str(tmp_path), architecture, True, model, vocabulary_file)
    return model, tmp_path


def test_random_init_has_the_shape_and_other_weights(saved):
    model, folder = saved
    fresh = load_pretrained(str(folder), "init_checkpoint", random_init=True).masked_lm
    assert [variable.shape for variable in fresh.weights] == [variable.shape for variable in model.weights]
    assert np.abs(fresh.get_weights()[0] - model.get_weights()[0]).max() > 1e-3


def test_saving_into_the_folder_of_the_vocabulary_keeps_it(saved):
    model, folder = saved
    before = (folder / "vocab.txt").read_bytes()
    save_pretrained(str(folder), tiny.student_architecture(num_layers=1), True, model, str(folder / "vocab.txt"))
    assert (folder / "vocab.txt").read_bytes() == before


def test_a_folder_that_no_stage_wrote_is_refused_with_its_flag(tmp_path):
    with pytest.raises(InputError, match=f"--teacher_dir={tmp_path}: no architecture.json there"):
        load_pretrained(str(tmp_path), "teacher_dir")


def test_missing_weights_are_named(saved):
    _, folder = saved
    os.remove(folder / "model.weights.h5")
    with pytest.raises(InputError, match="model.weights.h5: no such file; the run that should have written it"):
        load_pretrained(str(folder), "teacher_dir")


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_weights_file_is_named(saved, kept):
    _, folder = saved
    path = folder / "model.weights.h5"
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(InputError, match="model.weights.h5: can't be loaded"):
        load_pretrained(str(folder), "teacher_dir")


def test_a_file_that_holds_something_else_is_named(saved):
    _, folder = saved
    (folder / "model.weights.h5").write_text("氯化氢" * 1000, encoding="utf-8")
    with pytest.raises(InputError, match="model.weights.h5: can't be loaded"):
        load_pretrained(str(folder), "teacher_dir")


@pytest.mark.filterwarnings("ignore:Skipping nested container")  # Keras says so before it refuses the file
@pytest.mark.parametrize("change", [{"num_layers": 2}, {"hidden_dim": 12}])
def test_weights_of_another_shape_are_refused(saved, change):
    _, folder = saved
    other = tiny.masked_lm(tiny.student_architecture(**{"num_layers": 1, **change}))
    with pytest.raises(InputError, match="model.weights.h5: can't be loaded"):
        load_weights(other, str(folder / "model.weights.h5"))


def test_a_failed_save_leaves_the_old_weights(saved, monkeypatch):
    model, folder = saved
    path = folder / "model.weights.h5"
    before = path.read_bytes()

    def fill_the_disk(partial):
        with open(partial, "wb") as file:
            file.write(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(model, "save_weights", fill_the_disk)
    with pytest.raises(OSError, match="no space left"):
        save_weights(model, str(path))
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("do_lower_case", [True, False])
def test_an_architecture_file_comes_back_as_it_was(tmp_path, name, do_lower_case):
    path = str(tmp_path / "architecture.json")
    save_architecture(path, ARCHITECTURES[name], do_lower_case)
    assert load_architecture(path) == (ARCHITECTURES[name], do_lower_case)


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"kind": "teacher"}', '{"kind": "oracle", "do_lower_case": true}',
                '{"kind": "student", "do_lower_case": true, "num_heads": 12}', "3"],
)  # fmt: skip
def test_an_architecture_file_of_another_version_is_refused(tmp_path, content):
    path = tmp_path / "architecture.json"
    path.write_text(content)
    with pytest.raises(InputError, match="architecture.json: not an architecture this version can read"):
        load_architecture(str(path))


def test_a_file_that_holds_more_than_the_model_is_refused(tmp_path):
    path = str(tmp_path / "full.weights.h5")
    save_weights(tiny.masked_lm(tiny.student_architecture()), path)
    smaller = tiny.masked_lm(tiny.student_architecture(embedding="token"))
    with pytest.raises(InputError, match=r"full.weights.h5: .*belongs to another model"):
        load_weights(smaller, path)
