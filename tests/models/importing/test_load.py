"""Checkpoints told apart by looking; what is imported, saved, exported and imported again is the same bits."""

import pathlib
import shutil

import keras_nlp
import numpy as np
import pytest
import tiny

from chemkd_tf.errors import InputError
from chemkd_tf.export.hugging_face import export_hugging_face
from chemkd_tf.export.keras_preset import export_keras_preset
from chemkd_tf.models.checkpoints import save_pretrained
from chemkd_tf.models.importing.keras_model import is_preset_name
from chemkd_tf.models.importing.load import (
    cased_entry,
    load_encoder,
    load_teacher,
    open_source,
    require_casing,
)

FIXTURES = pathlib.Path(__file__).parents[2] / "fixtures" / "hugging_face"


def weights(masked_lm) -> dict[str, np.ndarray]:
    return {variable.path: variable.numpy() for variable in masked_lm.weights}


def assert_same(found, expected) -> None:
    assert found.keys() == expected.keys()
    for path, value in expected.items():
        np.testing.assert_array_equal(found[path], value, err_msg=path)


@pytest.mark.parametrize("name", ["bert", "bert_untied", "bert_pretraining", "albert", "albert_groups", "electra",
                                  "distilbert"])  # fmt: skip
def test_there_and_back_again_is_bit_identical(name, tmp_path):
    source = open_source(str(FIXTURES / name))
    architecture, masked_lm = load_teacher(source)
    before = weights(masked_lm)
    (tmp_path / "run").mkdir()
    save_pretrained(str(tmp_path / "run"), architecture, True, masked_lm, source.vocabulary_file)
    saved, reloaded = load_teacher(open_source(str(tmp_path / "run")))
    assert saved == architecture
    assert_same(weights(reloaded), before)
    export_hugging_face(saved, reloaded, source.vocabulary_file, True, str(tmp_path / "theirs"))
    again = open_source(str(tmp_path / "theirs"))
    assert again.do_lower_case is True and again.has_head
    exported, imported = load_teacher(again)
    assert exported == architecture
    assert_same(weights(imported), before)
    assert (tmp_path / "theirs" / "vocab.txt").read_bytes() == (FIXTURES / name / "vocab.txt").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "theirs"]


def test_a_fresh_teacher_with_another_activation_in_its_head_comes_back(tmp_path):
    architecture = tiny.teacher_architecture(vocabulary_size=40)
    assert architecture.activation != architecture.head_activation
    masked_lm = tiny.masked_lm(architecture)
    export_hugging_face(architecture, masked_lm, str(FIXTURES / "bert" / "vocab.txt"), True, str(tmp_path / "out"))
    exported, imported = load_teacher(open_source(str(tmp_path / "out")))
    assert exported == architecture
    assert_same(weights(imported), weights(masked_lm))


def test_an_export_has_the_names_and_shapes_that_pytorch_wrote(tmp_path):
    import safetensors.numpy

    for name in ("bert", "albert", "electra", "distilbert"):
        source = open_source(str(FIXTURES / name))
        architecture, masked_lm = load_teacher(source)
        folder = export_hugging_face(architecture, masked_lm, source.vocabulary_file, True, str(tmp_path / name))
        found = safetensors.numpy.load_file(f"{folder}/model.safetensors")
        expected = safetensors.numpy.load_file(FIXTURES / name / "model.safetensors")
        pooler = {key for key in expected if "pooler" in key}
        assert found.keys() == expected.keys() - pooler
        for key, value in found.items():
            np.testing.assert_array_equal(value, expected[key], err_msg=key)


@pytest.mark.parametrize("name", ["bert", "albert", "electra", "distilbert"])
def test_a_preset_has_the_same_encoder_and_comes_back(name, tmp_path, capsys):
    source = open_source(str(FIXTURES / name))
    architecture, masked_lm = load_teacher(source)
    folder = export_keras_preset(architecture, masked_lm, source.vocabulary_file, True, str(tmp_path / "preset"))
    said = capsys.readouterr().out
    assert ("always computes gelu_tanh" in said) == (architecture.activation == "gelu" and name != "distilbert")
    backbone = keras_nlp.models.Backbone.from_preset(folder)
    before = weights(masked_lm)
    stored = {variable.path: variable.numpy() for variable in backbone.weights if "pooled" not in variable.path}
    assert_same(stored, {path: value for path, value in before.items() if not path.startswith("masked_lm_head")})
    tokenizer = keras_nlp.models.Tokenizer.from_preset(folder)
    assert tokenizer.vocabulary_size() == 40
    again = open_source(folder)
    assert again.do_lower_case is True
    assert pathlib.Path(again.vocabulary_file).read_text("utf-8") == (FIXTURES / name / "vocab.txt").read_text("utf-8")
    assert again.has_head == (name != "electra")
    _, imported = load_teacher(again)
    found = weights(imported)
    for path, value in before.items():
        if again.has_head or not path.startswith("masked_lm_head"):
            np.testing.assert_array_equal(found[path], value, err_msg=path)


@pytest.mark.parametrize("export", [export_hugging_face, export_keras_preset])
def test_an_export_replaces_an_older_one_and_nothing_else(export, tmp_path):
    source = open_source(str(FIXTURES / "bert"))
    teacher = (*load_teacher(source), source.vocabulary_file, True)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="mine: something else is there"):
        export(*teacher, str(mine))
    assert (mine / "thesis.txt").read_text() == "years of work"
    for _ in range(2):
        export(*teacher, str(tmp_path / "out") + "/")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "out"]


def test_a_preset_computes_what_the_teacher_does(tmp_path):
    source = open_source(str(FIXTURES / "bert"))
    architecture, masked_lm = load_teacher(source)
    folder = export_keras_preset(architecture, masked_lm, source.vocabulary_file, True, str(tmp_path / "preset"))
    batch = tiny.select({**tiny.batch(), "token_ids": tiny.batch()["token_ids"] % 40})
    theirs = keras_nlp.models.BertBackbone.from_preset(folder)(batch)["sequence_output"]
    ours = load_encoder(str(FIXTURES / "bert"), "teacher_dir").encoder(batch)["hidden_4"]
    real = batch["padding_mask"].numpy() == 1
    np.testing.assert_allclose(theirs.numpy()[real], ours.numpy()[real], atol=1e-5)


@pytest.mark.parametrize("given", ["nowhere/at/all", "."])
def test_a_folder_without_a_checkpoint_is_refused_with_what_is_expected(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = str(tmp_path / given)
    with pytest.raises(InputError, match="no checkpoint there; name an earlier --output_dir"):
        open_source(folder)


def test_names_of_presets_are_known_from_folders():
    assert is_preset_name("bert_base_zh") and is_preset_name("kaggle://keras/bert/keras/bert_base_zh")
    assert not is_preset_name("runs/teacher") and not is_preset_name("chinese-bert")


def test_a_student_is_no_teacher(tmp_path):
    (tmp_path / "vocab.txt").write_text("[PAD]\n")
    architecture = tiny.student_architecture()
    save_pretrained(str(tmp_path), architecture, True, tiny.masked_lm(architecture), str(tmp_path / "vocab.txt"))
    with pytest.raises(InputError, match="holds a student, not a teacher"):
        open_source(str(tmp_path))


def test_a_checkpoint_without_vocabulary_is_refused_where_one_is_needed(tmp_path):
    shutil.copytree(FIXTURES / "bert", tmp_path / "bert")
    (tmp_path / "bert" / "vocab.txt").unlink()
    with pytest.raises(InputError, match="no vocabulary .*beside the checkpoint; put it there"):
        load_encoder(str(tmp_path / "bert"), "teacher_dir")


def vocabulary_file(tmp_path, *entries) -> str:
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "氯", *entries]) + "\n", encoding="utf-8")
    return str(path)


def test_a_cased_vocabulary_is_known_by_its_capitals(tmp_path):
    assert cased_entry(vocabulary_file(tmp_path, "the", "Apple", "##PVC")) == "Apple"
    assert cased_entry(vocabulary_file(tmp_path, "the", "apple", "##pvc", "[unused1]")) is None
    assert cased_entry(vocabulary_file(tmp_path, *(f"word{number}" for number in range(50)), "Ph")) is None


def test_lower_casing_and_a_cased_vocabulary_are_refused(tmp_path):
    shutil.copytree(FIXTURES / "bert", tmp_path / "bert")
    source = open_source(str(tmp_path / "bert"))
    require_casing(source, source.vocabulary_file, True)
    with pytest.raises(InputError, match="--do_lower_case=false: .*do_lower_case true; give --do_lower_case=true"):
        require_casing(source, source.vocabulary_file, False)
    (tmp_path / "bert" / "tokenizer_config.json").unlink()
    source = open_source(str(tmp_path / "bert"))
    require_casing(source, source.vocabulary_file, True)
    require_casing(source, source.vocabulary_file, False)
    cased = vocabulary_file(tmp_path, "The", "Apple")
    with pytest.raises(InputError, match=r"is a cased vocabulary \(it has 'The'\); give --do_lower_case=false"):
        require_casing(source, cased, True)
    require_casing(source, cased, False)
