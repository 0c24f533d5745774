"""Schedules: what each phase freezes and trains, how long it is, and that a killed run goes on inside any of them."""

import json

import numpy as np
import pytest
import tensorflow as tf
import tiny

from chemkd_tf.distillation.recipes import make_phases, make_recipe
from chemkd_tf.errors import InputError
from chemkd_tf.models import parts
from chemkd_tf.training.evaluation import Evaluator
from chemkd_tf.training.loop import Schedule, train
from chemkd_tf.training.phases import steps_in_proportion
from chemkd_tf.training.strategy import make_strategy
from chemkd_tf.workdir import WorkingDirectory

PROJECTIONS = {
    "embedding_loss": "embedding_loss_projection",
    "hidden_loss": "hidden_loss_projection",
}
PARTS = ("embedding", "layer_1", "layer_2", "head")


@pytest.fixture(autouse=True, scope="module")
def _quick():
    with tiny.unoptimised_graphs():
        yield


def part(path):
    """Named by hand, not by `parts.part_of`."""
    names = {
        "token_embedding": "embedding", "position_embedding": "embedding", "segment_embedding": "embedding",
        "bilstm_1": "layer_1", "bilstm_2": "layer_2", "masked_lm_head": "head",
        "embedding_loss_projection": "W_e", "hidden_loss_projection_hidden_1": "W_h",
        "hidden_loss_projection_hidden_2": "W_h",
    }  # fmt: skip
    return names[path.split("/")[0]]


# Name of the phase, share of 100 updates, losses, what moves.
PHASES = {
    "joint": [("", 100, {"embedding_loss", "hidden_loss", "prediction_loss"}, {*PARTS, "W_e", "W_h"})],
    "stagewise": [
        ("embedding", 10, {"embedding_loss"}, {"embedding", "W_e"}),
        ("hidden", 50, {"hidden_loss"}, {"embedding", "layer_1", "layer_2", "W_h"}),
        ("prediction", 40, {"prediction_loss"}, set(PARTS)),
    ],
    "gradual_unfreezing": [
        ("embedding", 10, {"embedding_loss"}, {"embedding", "W_e"}),
        ("hidden", 50, {"hidden_loss"}, {"embedding", "layer_1", "layer_2", "W_h"}),
        ("prediction from head on", 10, {"prediction_loss"}, {"head"}),
        ("prediction from layer_2 on", 10, {"prediction_loss"}, {"head", "layer_2"}),
        ("prediction from layer_1 on", 10, {"prediction_loss"}, {"head", "layer_2", "layer_1"}),
        ("prediction from embedding on", 10, {"prediction_loss"}, set(PARTS)),
    ],
}


@pytest.mark.parametrize("schedule", PHASES)
def test_each_phase_moves_exactly_what_it_says(schedule):
    model = tiny.distiller(tiny.distillation_config(schedule=schedule, learning_rate=1e-2, weight_decay=0.1))
    assert [(phase.name, phase.num_train_steps) for phase in model.phases] == [case[:2] for case in PHASES[schedule]]
    batch = tiny.tensors(tiny.batch())
    for number, (_, _, losses, moving) in enumerate(PHASES[schedule]):
        model.begin_phase(number, first_step=0)
        before = {variable.path: variable.numpy() for variable in model.trainable_variables}
        assert {part(path) for path in before} == {*PARTS, "W_e", "W_h"}
        metrics = tf.function(model.train_step)(batch)
        assert {name for name in metrics if name in PHASES["joint"][0][2]} == losses
        moved = {}
        for variable in model.trainable_variables:
            moved.setdefault(part(variable.path), []).append(bool((variable.numpy() != before[variable.path]).any()))
        assert {name for name, of_variables in moved.items() if all(of_variables)} == moving
        assert {name for name, of_variables in moved.items() if any(of_variables)} == moving


def test_a_transformer_s_layers_and_a_classifier_s_head_are_parts_as_well():
    student = {"num_heads": 2, "hidden_dim": 12, "num_layers": 2}
    config = tiny.classification_config(method="layered", schedule="gradual_unfreezing")
    model = tiny.task_distiller(config, student=student)
    found = {}
    for variable in model.student.weights:
        found.setdefault(parts.part_of(variable.path), set()).add(variable.path.split("/")[0])
    assert found == {
        "embedding": {"token_embedding", "position_embedding", "segment_embedding", "embeddings_layer_norm"},
        "layer_1": {"transformer_layer_0"},
        "layer_2": {"transformer_layer_1"},
        "head": {"classifier"},
    }
    names = [phase.name for phase in model.phases]
    assert names[2:] == [f"prediction from {top} on" for top in ("head", "layer_2", "layer_1", "embedding")]
    assert set(model.phases[2].loss_weights) == {"prediction_loss", "classification_loss"}


def plan_of(config, num_train_steps=100, num_warmup_steps=20, is_task=False):
    setting = tiny.setting(config, is_task=is_task)
    return make_phases(make_recipe(setting), setting, num_train_steps, num_warmup_steps)


def test_each_phase_has_its_share_of_the_updates_and_of_the_warm_up():
    phases = plan_of(tiny.distillation_config(schedule="stagewise", phase_proportions=(1.0, 2.0, 1.0)))
    assert [(phase.num_train_steps, phase.num_warmup_steps) for phase in phases] == [(25, 5), (50, 10), (25, 5)]
    phases = plan_of(tiny.distillation_config(schedule="gradual_unfreezing", phase_proportions=(1.0, 1.0, 2.0)))
    assert [phase.num_train_steps for phase in phases] == [25, 25, 12, 13, 13, 12]
    without_embedding = plan_of(tiny.distillation_config(schedule="stagewise", embedding_loss_weight=0.0))
    assert [(phase.name, phase.num_train_steps) for phase in without_embedding] == [("hidden", 56), ("prediction", 44)]


def test_methods_of_two_stages_have_their_own_schedule():
    lrc = plan_of(tiny.distillation_config(method="lrc_bert"))
    assert [(phase.num_train_steps, set(phase.loss_weights)) for phase in lrc] == [
        (80, {"hidden_loss"}),
        (20, {"hidden_loss", "prediction_loss", "masked_lm_loss"}),
    ]
    assert lrc[1].loss_weights == {"hidden_loss": 1.0, "prediction_loss": 1.0, "masked_lm_loss": 3.0}
    assert all(phase.perturbed for phase in lrc)
    tinybert = tiny.classification_config(method="tinybert", attention_loss_weight=0.0)
    assert [(phase.num_train_steps, set(phase.loss_weights)) for phase in plan_of(tinybert, is_task=True)] == [
        (50, {"embedding_loss", "hidden_loss"}),
        (50, {"prediction_loss", "classification_loss"}),
    ]
    (general,) = plan_of(tiny.distillation_config(method="tinybert", attention_loss_weight=0.0))
    assert set(general.loss_weights) == {"embedding_loss", "hidden_loss"}
    # --schedule takes the place of a method's own.
    (joint,) = plan_of(tiny.distillation_config(method="lrc_bert", schedule="joint"))
    assert set(joint.loss_weights) == {"hidden_loss", "prediction_loss", "masked_lm_loss"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedule": "stagewise", "phase_proportions": (1.0, 2.0)},
         "--phase_proportions=1,2: 2 numbers, but the schedule has 3 stages: embedding, hidden, prediction"),
        ({"schedule": "joint", "phase_proportions": (1.0, 2.0)},
         "--phase_proportions=1,2: 2 numbers, but the schedule has 1 stage: all losses"),
        ({"method": "lrc_bert", "phase_proportions": (1.0,)},
         "--phase_proportions=1: 1 numbers, but the schedule has 2 stages: contrastive, all"),
        ({"schedule": "gradual_unfreezing", "num_train_steps": 5},
         "--num_train_steps=5: the schedule has 6 phases, which need an update each"),
        ({"phase_proportions": (1.0, 0.0, 2.0)}, "--phase_proportions=1.0,0.0,2.0: each above 0"),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_schedule_is_refused(changes, message):
    with pytest.raises(InputError) as refused:
        config = tiny.distillation_config(**changes)
        plan_of(config, config.num_train_steps)
    assert str(refused.value) == message


@pytest.mark.parametrize("proportions", [(1,), (1, 1, 1), (0.1, 0.5, 0.4), (1e-9, 1, 1e-9), (3, 1, 4, 1, 5)])
@pytest.mark.parametrize("steps", [5, 6, 100, 20_000])
def test_the_parts_of_a_division_add_up_and_none_is_empty(proportions, steps):
    found = steps_in_proportion(steps, proportions)
    assert sum(found) == steps and min(found) >= 1 and len(found) == len(proportions)
    for number, share in zip(found, proportions, strict=True):
        assert number == pytest.approx(steps * share / sum(proportions), abs=len(proportions))


def test_the_learning_rate_warms_up_anew_and_the_optimizer_forgets():
    model = tiny.distiller(tiny.distillation_config(schedule="stagewise", learning_rate=1.0))
    setting = tiny.setting(tiny.distillation_config(schedule="stagewise", learning_rate=1.0))
    model.compile_for_phases(setting.config, make_phases(make_recipe(setting), setting, 100, 20))
    rates = []
    for number, first_step in enumerate((0, 10, 60)):
        model.begin_phase(number, first_step)
        assert all((variable.numpy() == 0).all() for variable in model.optimizer.variables[2:])
        steps = model.phase.num_train_steps
        rates += [model.learning_rate_of(step) for step in range(first_step + 1, first_step + steps + 1)]
        model.train_step(tiny.tensors(tiny.batch()))
    # Warm-up of 2, 10 and 8 updates, peak 1, then down to 0 at the phase's end.
    assert rates[0:2] == pytest.approx([0.5, 1.0])
    assert rates[10:20] == pytest.approx([0.1 * step for step in range(1, 11)])
    assert rates[59] == pytest.approx(1 / 40)
    assert rates[60:68] == pytest.approx([step / 8 for step in range(1, 9)])


# --- Killed and resumed ---

STEPS = 12  # stagewise, 1 : 5 : 4, by thirds: phases of 1, 6 and 5 updates
BATCHES = [tiny.batch(seed=seed) for seed in range(STEPS)]


class Killed(Exception):
    """What ends a run."""


def batches_from(first):
    stacked = {name: np.stack([batch[name] for batch in BATCHES]) for name in BATCHES[0]}
    return tf.data.Dataset.from_tensor_slices(stacked).skip(first)


def run(path, last_step=STEPS, converged_at=None):
    """Distils by stages in `path`; dies in the evaluation after `last_step`."""
    strategy = make_strategy(1)
    with strategy.scope():
        config = tiny.one_layer_config(schedule="stagewise", learning_rate=1e-2)
        model = tiny.one_layer_distiller(config, student={"dropout": 0.3}, num_train_steps=STEPS)
    held_out = Evaluator(model, strategy, tf.data.Dataset.from_tensors(tiny.batch(seed=100)))
    kept = []

    def after_evaluation(step, metrics, memory):
        if step == last_step and step != STEPS:
            raise Killed
        memory["of_phase"].setdefault("steps", []).append(step)
        return step == converged_at

    steps = train(
        "test",
        model,
        strategy,
        batches_from,
        Schedule(STEPS, eval_every_steps=1, save_checkpoints_steps=1, log_every_steps=1),
        WorkingDirectory(str(path)),
        held_out,
        after_evaluation,
        keep_best=lambda directory: kept.append(directory),
    )
    return model, steps, kept


def lines(path):
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, run(folder)


def test_the_curves_of_a_staged_run_have_each_phase_s_losses(whole):
    folder, (model, steps, _) = whole
    assert steps == STEPS
    assert [phase.num_train_steps for phase in model.phases] == [1, 6, 5]
    of_training = [line for line in lines(folder) if line["split"] == "train"]
    assert [line["step"] for line in of_training] == list(range(1, STEPS + 1))
    losses = [sorted(set(line) & {"embedding_loss", "hidden_loss", "prediction_loss"}) for line in of_training]
    assert losses == [["embedding_loss"]] + [["hidden_loss"]] * 6 + [["prediction_loss"]] * 5
    # Held out, everything is measured in every phase.
    held_out = [line for line in lines(folder) if line["split"] == "eval"]
    assert all({"embedding_loss", "hidden_loss", "prediction_loss"} < set(line) for line in held_out)
    assert [line["loss"] for line in held_out] == pytest.approx(
        [line[name] for line, (name,) in zip(held_out, losses, strict=True)]
    )


# At the end of a phase (nothing of the next is done), in the middle of one, in the last.
@pytest.mark.parametrize("last_step", [5, *(pytest.param(step, marks=pytest.mark.slow) for step in (1, 11))])
def test_a_run_killed_in_any_phase_goes_on_in_it(whole, tmp_path, last_step):
    folder, (undisturbed, _, _) = whole
    with pytest.raises(Killed):
        run(tmp_path, last_step)
    resumed, steps, _ = run(tmp_path)
    assert steps == STEPS
    for one, other in zip(undisturbed.trainable_variables, resumed.trainable_variables, strict=True):
        np.testing.assert_allclose(other.numpy(), one.numpy(), rtol=0, atol=1e-6, err_msg=one.path)
    assert [(line["step"], line["split"]) for line in lines(tmp_path)] == [
        (line["step"], line["split"]) for line in lines(folder)
    ]
    again, steps, kept = run(tmp_path)
    assert (steps, kept) == (STEPS, [])


@pytest.mark.slow
def test_a_phase_that_has_converged_ends_early_and_the_next_begins(tmp_path):
    model, steps, _ = run(tmp_path, converged_at=4)
    assert steps == 4 + 5  # the hidden stage made 3 of its 6 updates
    found = [sorted(set(line) & {"hidden_loss", "prediction_loss"}) for line in lines(tmp_path)
             if line["split"] == "train"]  # fmt: skip
    assert found == [[]] + [["hidden_loss"]] * 3 + [["prediction_loss"]] * 5
    _, again, _ = run(tmp_path)
    assert again == steps
