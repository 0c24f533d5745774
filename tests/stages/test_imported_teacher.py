"""Pretraining from a checkpoint that others wrote."""

import json
import pathlib
import shutil

import numpy as np
import pipeline
import pytest
import tiny
from data.record_oracles import config_for

from chemkd_tf.config import PretrainingConfig
from chemkd_tf.data.shards import write_pretraining_data
from chemkd_tf.errors import InputError
from chemkd_tf.models.importing.load import load_teacher, open_source
from chemkd_tf.stages import classify, distill, pretrain

FIXTURES = pathlib.Path(__file__).parents[1] / "fixtures" / "hugging_face"
TEXT = "氯化氢聚乙烯反应釜\n检修安全阀\n\n反应釜压力温度\n安全阀naoh检修\n"


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Records of 12 tokens with the vocabulary of the fixtures."""
    folder = tmp_path_factory.mktemp("records")
    (folder / "corpus.txt").write_text(TEXT * 6, encoding="utf-8")
    shutil.copyfile(FIXTURES / "bert" / "vocab.txt", folder / "vocab.txt")
    config = config_for(folder, vocab_file=str(folder / "vocab.txt"), output_file=str(folder / "P"), max_seq_length=12)
    write_pretraining_data(config)
    return str(folder / "P")


def pretraining(output_dir, **changes) -> PretrainingConfig:
    values = {"init_checkpoint": str(FIXTURES / "bert"), "num_layers": 2, "num_train_steps": 2, "num_warmup_steps": 0,
              "train_batch_size": 4, "eval_batch_size": 4, "output_dir": str(output_dir)}  # fmt: skip
    return PretrainingConfig(**{**values, **changes})


def weights(given) -> dict[str, np.ndarray]:
    return {variable.path: variable.numpy() for variable in load_teacher(open_source(str(given)))[1].weights}


@pytest.mark.parametrize("name", ["bert", "bert_untied", "albert", "electra", "distilbert"])
def test_a_checkpoint_is_imported_as_it_is_cut_and_exported(name, tmp_path, capsys):
    config = pretraining(tmp_path / "run", init_checkpoint=str(FIXTURES / name), do_train=False,
                         export_format="hugging_face")  # fmt: skip
    assert pretrain.train_and_evaluate(config) == {}
    assert f"{name.split('_')[0]} of 4 layers, 2 kept, width 16, 40 entries; masked-LM head imported" in (
        capsys.readouterr().out
    )
    expected = {variable.path: variable.numpy() for variable in
                load_teacher(open_source(str(FIXTURES / name)), (0, 1))[1].weights}  # fmt: skip
    for given in (tmp_path / "run", tmp_path / "run" / "hugging_face"):
        found = weights(given)
        assert found.keys() == expected.keys()
        for path, value in expected.items():
            np.testing.assert_array_equal(found[path], value, err_msg=path)
    assert json.loads((tmp_path / "run" / "architecture.json").read_text())["num_layers"] == 2


@pytest.mark.slow
def test_training_goes_on_from_the_checkpoint_and_the_loss_at_its_start_is_its_own(records, tmp_path):
    imported = pretrain.train_and_evaluate(
        pretraining(tmp_path / "as it is", num_layers=4, do_train=False, eval_input_file=records)
    )
    _, masked_lm = load_teacher(open_source(str(FIXTURES / "bert")))
    model = pretrain.MaskedLanguageModel(masked_lm, 1)
    manifest = pretrain.read_manifest(records)
    sums, weights_ = 0.0, 0.0
    for batch in pretrain.datasets.held_out_batches(manifest, 5):
        total, weight = model.compute_terms(batch, training=False).losses["masked_lm_loss"]
        sums, weights_ = sums + float(np.sum(total)), weights_ + float(np.sum(weight))
    assert abs(imported["masked_lm_loss"] - sums / weights_) < 1e-5
    with tiny.unoptimised_graphs():
        trained = pretrain.train_and_evaluate(
            pretraining(tmp_path / "trained", num_layers=4, input_file=records, eval_input_file=records,
                        num_train_steps=20, learning_rate=3e-3)
        )  # fmt: skip
    assert trained["masked_lm_loss"] < imported["masked_lm_loss"] - 0.1


def test_any_layers_can_be_kept(tmp_path):
    pretrain.train_and_evaluate(pretraining(tmp_path, keep_layers="1,3", do_train=False))
    found, whole = weights(tmp_path), weights(FIXTURES / "bert")
    for layer, original in ((0, 1), (1, 3)):
        path = "feedforward_output_dense/kernel"
        np.testing.assert_array_equal(
            found[f"transformer_layer_{layer}/{path}"], whole[f"transformer_layer_{original}/{path}"]
        )


@pytest.mark.parametrize("given", ["5-2", "a", "1,1", "2,1", "-1", "0-", ","])
def test_layers_that_are_no_ascending_numbers_are_refused(given, tmp_path):
    with pytest.raises(InputError, match=f"--keep_layers={given}: numbers from 0 in ascending order"):
        pretraining(tmp_path, keep_layers=given, do_train=False)


def test_an_export_over_the_checkpoint_itself_is_refused(tmp_path):
    with pytest.raises(InputError, match="is --init_checkpoint itself, which would be replaced"):
        pretraining(tmp_path, do_train=False, export_format="hugging_face", export_dir=f"{FIXTURES / 'bert'}/")


def test_a_vocabulary_that_extends_the_checkpoints_grows_it(tmp_path, capsys):
    tokens = (FIXTURES / "bert" / "vocab.txt").read_text("utf-8").split()
    changed = [*tokens, "naohph"]
    changed[tokens.index("[unused1]")] = "醇"
    (tmp_path / "vocab.txt").write_text("\n".join(changed) + "\n", encoding="utf-8")
    pretrain.train_and_evaluate(
        pretraining(tmp_path / "run", num_layers=4, do_train=False, vocab_file=str(tmp_path / "vocab.txt"))
    )
    assert "41 entries, 2 of them new: each begins as the mean of its old pieces" in capsys.readouterr().out
    found, before = weights(tmp_path / "run"), weights(FIXTURES / "bert")
    table, old = found.pop("token_embedding/embeddings"), before.pop("token_embedding/embeddings")
    kept = [index for index, token in enumerate(tokens) if token != "[unused1]"]
    np.testing.assert_array_equal(table[kept], old[kept])
    assert table.shape == (41, 16)
    np.testing.assert_array_equal(found.pop("masked_lm_head/output_bias")[kept],
                                  before.pop("masked_lm_head/output_bias")[kept])  # fmt: skip
    for path, value in before.items():
        np.testing.assert_array_equal(found[path], value, err_msg=path)


def test_another_vocabulary_is_refused(tmp_path):
    tokens = (FIXTURES / "bert" / "vocab.txt").read_text("utf-8").split()
    tokens[7], tokens[8] = tokens[8], tokens[7]
    (tmp_path / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=f"{tmp_path}/vocab.txt:8"):
        pretrain.train_and_evaluate(
            pretraining(tmp_path / "run", do_train=False, vocab_file=str(tmp_path / "vocab.txt"))
        )
    assert not (tmp_path / "run").exists()


def test_records_of_another_casing_are_refused(tmp_path):
    with pytest.raises(InputError, match="--do_lower_case=false: .*has a tokeniser with do_lower_case true"):
        pretrain.train_and_evaluate(pretraining(tmp_path / "run", do_train=False, do_lower_case=False))
    assert not (tmp_path / "run").exists()


def test_records_of_another_vocabulary_are_refused(tmp_path, tmp_path_factory):
    built = pipeline.build(tmp_path_factory)
    with pytest.raises(InputError, match="was made with another vocabulary than"):
        pretrain.train_and_evaluate(pretraining(tmp_path / "run", input_file=built.records))


@pytest.mark.slow
def test_a_checkpoint_teaches_and_classifies_without_being_pretrained_here(records, tmp_path, tmp_path_factory):
    built = pipeline.build(tmp_path_factory)
    for name in ("bert", "distilbert"):
        with tiny.unoptimised_graphs():
            distill.train_and_evaluate(
                pipeline.distillation(built, tmp_path / f"{name} student", input_file=records,
                                      teacher_dir=str(FIXTURES / name), layer_map=(4,))
            )  # fmt: skip
            classify.run(
                pipeline.classification(built, tmp_path / f"{name} classifier", max_seq_length=12, do_eval=True,
                                        init_checkpoint=str(FIXTURES / name), num_train_epochs=1.0)
            )  # fmt: skip
        assert (tmp_path / f"{name} student" / "model.weights.h5").is_file()
        assert (tmp_path / f"{name} classifier" / "classifier.weights.h5").is_file()
