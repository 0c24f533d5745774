"""Methods: which states they match, with which weights."""

import numpy as np
import pytest
import tiny

from chemkd_tf.distillation.recipes import RECIPES, Setting, make_recipe
from chemkd_tf.errors import InputError

SIX_LAYERS = {"num_layers": 6}
THREE_LAYERS = {"num_layers": 3}


def paper_config(**changes):
    values = {"num_student_layers": 3, "layer_map": (1, 3, 5)}
    return tiny.distillation_config(**{**values, **changes})


def objectives(config):
    return make_recipe(tiny.setting(config, SIX_LAYERS, {"num_layers": config.num_student_layers})).objectives


def test_the_layer_map_pairs_student_layer_h_with_teacher_layer_f_of_h():
    (embedding, _), (hidden, _), (prediction, _) = objectives(paper_config())
    assert list(zip(embedding.student_states, embedding.teacher_states, strict=True)) == [("embedding", "embedding")]
    assert list(zip(hidden.student_states, hidden.teacher_states, strict=True)) == [
        ("hidden_1", "hidden_1"),
        ("hidden_2", "hidden_3"),
        ("hidden_3", "hidden_5"),
    ]
    assert prediction.student_states == prediction.teacher_states == ("logits",)
    (_, (hidden, _), _) = objectives(paper_config(layer_map=(2, 4, 6)))
    assert hidden.teacher_states == ("hidden_2", "hidden_4", "hidden_6")


def test_the_losses_carry_the_names_and_the_weights_of_the_flags():
    config = paper_config(embedding_loss_weight=0.5, hidden_loss_weight=2.0, prediction_loss_weight=3.0)
    weights = {objective.name: weight for objective, weight in objectives(config)}
    assert weights == {"embedding_loss": 0.5, "hidden_loss": 2.0, "prediction_loss": 3.0}


def test_the_projections_fit_the_widths_of_both_models():
    config = paper_config()
    teacher, student = (
        tiny.teacher_architecture(**SIX_LAYERS),
        tiny.student_architecture(units_per_direction=7, num_layers=3),
    )
    (embedding, _), (hidden, _), _ = make_recipe(Setting(config, teacher, student, False)).objectives
    assert [tuple(v.shape) for v in embedding.trainable_variables] == [(tiny.STUDENT_WIDTH, tiny.TEACHER_WIDTH)]
    assert [tuple(v.shape) for v in hidden.trainable_variables] == [(14, tiny.TEACHER_WIDTH)] * 3
    (_, (hidden, _), _) = make_recipe(Setting(paper_config(share_projection=True), teacher, student, False)).objectives
    assert [tuple(v.shape) for v in hidden.trainable_variables] == [(14, tiny.TEACHER_WIDTH)]


def test_an_unknown_method_is_one_clear_message():
    with pytest.raises(InputError) as refused:
        objectives(paper_config(method="layred"))
    assert str(refused.value) == f"--method=layred: one of {', '.join(RECIPES)}"


def test_the_hidden_loss_is_the_sum_over_h_of_the_mean_squared_error_to_layer_f_of_h():
    model = tiny.distiller(paper_config(), SIX_LAYERS, THREE_LAYERS)
    batch = tiny.batch()
    inputs = tiny.select(batch, tiny.MASKED_LM_INPUTS)
    teacher = {name: value.numpy().astype("float64") for name, value in model.teacher(inputs).items()}
    student = {name: value.numpy().astype("float64") for name, value in model.student(inputs).items()}
    real = batch["padding_mask"] == 1

    def mean_squared_error(student_state, projection, teacher_state):
        projected = student[student_state][real] @ projection.kernel.numpy()
        return np.square(projected - teacher[teacher_state][real]).mean()

    embedding, hidden, _ = model.objectives
    metrics = tiny.evaluate(model, batch)
    expected = sum(
        mean_squared_error(f"hidden_{h}", projection, f"hidden_{layer}")
        for h, layer, projection in zip((1, 2, 3), (1, 3, 5), hidden.projections, strict=True)
    )
    assert metrics["hidden_loss"] == pytest.approx(expected, rel=1e-4)
    expected = mean_squared_error("embedding", embedding.projections[0], "embedding")
    assert metrics["embedding_loss"] == pytest.approx(expected, rel=1e-4)
    assert {name.removeprefix("r_squared_") for name in metrics if name.startswith("r_squared")} == {
        "embedding",
        "hidden_1",
        "hidden_2",
        "hidden_3",
    }


def own_settings(method, is_task=False, **changes):
    values = {"method": method, "num_student_layers": 3, "layer_map": (1, 3, 5), **changes}
    student = {"num_layers": 3, "num_heads": 2} if method == "tinybert" else THREE_LAYERS
    if is_task:
        values = {name: value for name, value in values.items() if name != "num_student_layers"}
        config = tiny.classification_config(**values)
    else:
        config = tiny.distillation_config(**values)
    recipe = make_recipe(tiny.setting(config, SIX_LAYERS, student, is_task))
    return {objective.name: (type(objective).__name__, weight) for objective, weight in recipe.objectives}, recipe


# As their papers have them; the last one is what a task adds to a method without right answers of its own.
OF_CORPUS = {
    "layered": {"embedding_loss": ("StateMatching", 1), "hidden_loss": ("StateMatching", 1),
                "prediction_loss": ("MaskedTokenMatching", 1)},
    "tinybert": {"embedding_loss": ("StateMatching", 1), "attention_loss": ("AttentionMatching", 1),
                 "hidden_loss": ("StateMatching", 1), "prediction_loss": ("MaskedTokenMatching", 1)},
    "bert_pkd": {"hidden_loss": ("ClsMatching", 1), "prediction_loss": ("MaskedTokenMatching", 0.5 * 25),
                 "masked_lm_loss": ("HardPrediction", 0.5)},
    "lrc_bert": {"hidden_loss": ("ContrastiveMatching", 1), "prediction_loss": ("MaskedTokenMatching", 1),
                 "masked_lm_loss": ("HardPrediction", 3)},
    "logits_only": {"prediction_loss": ("MaskedTokenMatching", 1)},
    "logits_mse": {"prediction_loss": ("MaskedLogitsMatching", 1)},
    "distilbert": {"hidden_loss": ("CosineMatching", 1), "prediction_loss": ("MaskedTokenMatching", 5 * 4),
                   "masked_lm_loss": ("HardPrediction", 2)},
}  # fmt: skip
TEMPERATURES = {"bert_pkd": 5.0, "lrc_bert": 1.1, "distilbert": 2.0}


@pytest.mark.parametrize("method", RECIPES)
def test_each_method_has_the_losses_weights_and_temperature_of_its_paper(method):
    found, recipe = own_settings(method)
    assert found == {name: (kind, pytest.approx(weight)) for name, (kind, weight) in OF_CORPUS[method].items()}
    temperatures = {objective.name: objective.temperature for objective, _ in recipe.objectives
                    if objective.name == "prediction_loss"}  # fmt: skip
    assert temperatures == {"prediction_loss": TEMPERATURES.get(method, 1.0)}
    on_task, _ = own_settings(method, is_task=True)
    kinds = {"MaskedTokenMatching": "PredictionMatching", "MaskedLogitsMatching": "LogitsMatching"}
    expected = {name.replace("masked_lm", "classification"): (kinds.get(kind, kind), pytest.approx(weight))
                for name, (kind, weight) in OF_CORPUS[method].items()}  # fmt: skip
    assert on_task == {"classification_loss": ("HardPrediction", 1.0), **expected}


def test_the_flags_are_factors_on_the_methods_own_weights():
    found, recipe = own_settings("distilbert", hidden_loss_weight=3.0, prediction_loss_weight=0.5, temperature=4.0,
                                 label_loss_weight=0.0)  # fmt: skip
    assert {name: weight for name, (_, weight) in found.items()} == {
        "hidden_loss": 3.0, "prediction_loss": pytest.approx(5 * 0.5 * 16), "masked_lm_loss": 0.0,
    }  # fmt: skip
    assert [objective.temperature for objective, _ in recipe.objectives if objective.name == "prediction_loss"] == [4.0]
    with pytest.raises(InputError, match="--method=logits_only: all its losses weigh 0"):
        own_settings("logits_only", prediction_loss_weight=0.0)


def test_a_layer_map_has_to_fit_where_a_method_asks_for_one():
    with pytest.raises(InputError, match="--layer_map=1,3,5 names 3 teacher layers, the student has 2: name one"):
        make_recipe(tiny.setting(paper_config(num_student_layers=2), SIX_LAYERS, {"num_layers": 2}))
    config = paper_config(method="logits_only", num_student_layers=2)
    assert make_recipe(tiny.setting(config, SIX_LAYERS, {"num_layers": 2})).objectives


def test_distilbert_compares_the_last_layers_whatever_the_layer_map():
    _, recipe = own_settings("distilbert")
    hidden = recipe.objectives[0][0]
    assert (hidden.student_states, hidden.teacher_states) == (("hidden_3",), ("hidden_6",))


def test_attention_scores_are_paired_by_the_layer_map():
    _, recipe = own_settings("tinybert", layer_map=(2, 4, 6))
    attention = next(objective for objective, _ in recipe.objectives if objective.name == "attention_loss")
    assert attention.student_states == ("attention_scores_1", "attention_scores_2", "attention_scores_3")
    assert attention.teacher_states == ("attention_scores_2", "attention_scores_4", "attention_scores_6")
