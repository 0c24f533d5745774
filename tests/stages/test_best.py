"""best/: the weights of the lowest held-out loss, as a folder that every later stage loads."""

import json
import os
import pathlib

import pipeline
import pytest
import tiny

from chemkd_tf.data.datasets import held_out_batches
from chemkd_tf.data.manifest import read_manifest
from chemkd_tf.models.checkpoints import load_pretrained
from chemkd_tf.stages import best, distill, pretrain
from chemkd_tf.stages.pretrain import MaskedLanguageModel
from chemkd_tf.training.evaluation import Evaluator
from chemkd_tf.training.strategy import make_strategy

WEIGHTS = "model.weights.h5"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return pipeline.build(tmp_path_factory)


@pytest.fixture(scope="module")
def teacher(built, tmp_path_factory):
    """A run whose learning rate is far too high: its last update is not its best."""
    folder = tmp_path_factory.mktemp("best") / "teacher"
    config = pipeline.pretraining(
        built, folder, eval_input_file=built.records, num_train_steps=6, eval_every_steps=1, learning_rate=0.1,
        max_eval_steps=3, save_checkpoints_steps=2, log_every_steps=1,
    )  # fmt: skip
    with tiny.unoptimised_graphs():
        pretrain.train_and_evaluate(config)
    return folder, config


def held_out_losses(folder) -> list[float]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if line["split"] == "eval"]


def loss_of(directory, config) -> float:
    """Held-out loss of the encoder in a folder."""
    strategy = make_strategy(1)
    with strategy.scope():
        model = MaskedLanguageModel(load_pretrained(str(directory), "init_checkpoint").masked_lm, 1)
    batches = held_out_batches(read_manifest(config.eval_input_file), config.eval_batch_size)
    return Evaluator(model, strategy, batches, config.max_eval_steps)()["loss"]


def test_best_holds_the_weights_of_the_lowest_held_out_loss_and_the_folder_itself_the_last(teacher):
    folder, config = teacher
    losses = held_out_losses(folder)
    assert min(losses) < losses[-1] - 0.01, "the test shows nothing if the last update is the best"
    assert loss_of(folder / "best", config) == pytest.approx(min(losses), rel=1e-5)
    assert loss_of(folder, config) == pytest.approx(losses[-1], rel=1e-5)
    assert sorted(os.listdir(folder / "best")) == ["architecture.json", WEIGHTS, "vocab.txt"]
    for name in ("architecture.json", "vocab.txt"):
        assert (folder / "best" / name).read_bytes() == (folder / name).read_bytes()


def test_the_best_update_is_named_at_the_end_and_when_the_finished_run_is_called_again(teacher, capsys):
    folder, config = teacher
    losses = held_out_losses(folder)
    with tiny.unoptimised_graphs():
        pretrain.train_and_evaluate(config)
    assert (
        f"best held-out loss {min(losses):.4f} after update {losses.index(min(losses)) + 1}: {folder}/best\n"
        in capsys.readouterr().out
    )


@pytest.mark.slow
def test_the_best_teacher_can_be_distilled_and_leaves_its_best_student(built, teacher, tmp_path):
    config = pipeline.distillation(
        built, tmp_path / "student", teacher_dir=str(teacher[0] / "best"), eval_input_file=built.records,
        max_eval_steps=1,
    )  # fmt: skip
    with tiny.unoptimised_graphs():
        distill.train_and_evaluate(config)
    best_student, last = (pipeline.arrays(tmp_path / "student" / name / WEIGHTS) for name in ("best", ""))
    assert best_student.keys() == last.keys()
    assert load_pretrained(str(tmp_path / "student" / "best"), "init_checkpoint").architecture.kind == "student"


def test_nothing_is_named_best_before_it_is_complete(tmp_path, monkeypatch):
    class Killed(Exception):
        """Stands for a kill while weights are written."""

    def die(*arguments):
        raise Killed

    directory = str(tmp_path / "best")
    (tmp_path / "vocab.txt").write_text("[PAD]\n")
    belongings = tiny.teacher_architecture(), True, tiny.masked_lm(tiny.teacher_architecture()), tmp_path / "vocab.txt"
    with monkeypatch.context() as patched:
        patched.setattr("chemkd_tf.models.checkpoints.save_weights", die)
        with pytest.raises(Killed):
            best.save_best(directory, *belongings)
    assert not os.path.exists(directory)
    best.save_best(directory, *belongings)
    before = pathlib.Path(directory, WEIGHTS).read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["best", "vocab.txt"]
    with monkeypatch.context() as patched:
        patched.setattr(best, "save_weights", die)
        with pytest.raises(Killed):
            best.save_best(directory, *belongings)
    assert pathlib.Path(directory, WEIGHTS).read_bytes() == before
