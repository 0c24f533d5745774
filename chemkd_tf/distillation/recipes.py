"""Methods of distillation: name to objectives with their weights, and when each is learnt. A new method is a new line.

The same recipe serves a corpus (predictions: masked tokens) and a task (predictions: classes). The flags' weights are
factors on those that stand here, which are the methods' own. docs/distillation.md has the equations.
"""

import dataclasses
from collections.abc import Callable

from chemkd_tf.config import MethodConfig
from chemkd_tf.distillation import schedules
from chemkd_tf.distillation.objectives import (
    AttentionMatching,
    ClsMatching,
    ContrastiveMatching,
    CosineMatching,
    HardPrediction,
    LogitsMatching,
    MaskedLogitsMatching,
    MaskedTokenMatching,
    Objective,
    PredictionMatching,
    RepresentationMatching,
    StateMatching,
)
from chemkd_tf.distillation.objectives.objective import EMBEDDING_STAGE
from chemkd_tf.errors import InputError
from chemkd_tf.models import states
from chemkd_tf.models.architecture import Architecture, TeacherArchitecture
from chemkd_tf.training.phases import Phase

WeightedObjectives = list[tuple[Objective, float]]
LABEL_LOSS = "classification_loss"


@dataclasses.dataclass(frozen=True)
class Setting:
    """What a recipe is made for.

    Attributes:
        config: weights, layer map and the rest of the flags.
        teacher: its shape.
        student: its shape.
        is_task: classes of a task; otherwise the masked tokens of a corpus.
    """

    config: MethodConfig
    teacher: TeacherArchitecture
    student: Architecture
    is_task: bool


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A method.

    Attributes:
        objectives: with their weights.
        schedule: where --schedule says nothing.
        perturbed: whether updates are taken at perturbed embeddings (LRC-BERT).
    """

    objectives: WeightedObjectives
    schedule: schedules.Schedule = schedules.joint
    perturbed: bool = False


def layered(setting: Setting) -> Recipe:
    """The paper's method (section 3.3): L = a·L_emb + b·L_hid + c·L_pred."""
    return Recipe([*_embedding(setting), *_hidden(setting), *_prediction(setting), *_labels_of_task(setting)])


def tinybert(setting: Setting) -> Recipe:
    """Jiao et al. 2020 (arXiv:1909.10351): attention scores as well, and predictions not before the task."""
    objectives = [
        *_embedding(setting), *_attention(setting), *_hidden(setting), *_prediction(setting), *_labels_of_task(setting),
    ]  # fmt: skip
    return Recipe(objectives, schedules.intermediate_first if setting.is_task else schedules.intermediate_only)


def bert_pkd(setting: Setting) -> Recipe:
    """Sun et al. 2019 (arXiv:1908.09355), eq. 8: normalised [CLS] states; soft and hard predictions halve the rest.

    Which layers, "skip" or "last", is what the layer map says.
    """
    return Recipe(
        [
            *_hidden(setting, ClsMatching),
            *_prediction(setting, temperature=5.0, weight=0.5, rescaled=True),
            *_labels(setting, 0.5),
        ]
    )


def lrc_bert(setting: Setting) -> Recipe:
    """Fu et al. 2021 (arXiv:2012.07335): COS-NCE, soft and hard predictions 1 : 1 : 3, gradient perturbation."""
    hidden = _hidden(setting, ContrastiveMatching, num_negatives=setting.config.num_negatives)
    return Recipe(
        [*hidden, *_prediction(setting, temperature=1.1), *_labels(setting, 3.0)],
        schedules.contrastive_first,
        perturbed=True,
    )


def logits_only(setting: Setting) -> Recipe:
    """Hinton, Vinyals and Dean 2015 (arXiv:1503.02531): the teacher's predictions, nothing from within."""
    return Recipe([*_prediction(setting, rescaled=True), *_labels_of_task(setting)])


def logits_mse(setting: Setting) -> Recipe:
    """Tang et al. 2019 (arXiv:1903.12136): squared error of the logits, for a BiLSTM."""
    kind = LogitsMatching if setting.is_task else MaskedLogitsMatching
    weight = setting.config.prediction_loss_weight
    return Recipe([(kind("prediction_loss"), weight), *_labels_of_task(setting)])


def distilbert(setting: Setting) -> Recipe:
    """Sanh et al. 2019 (arXiv:1910.01108): soft and hard predictions and the cosine of the last states, 5 : 2 : 1."""
    last = [(states.hidden(setting.student.num_layers), states.hidden(setting.teacher.num_layers))]
    return Recipe(
        [
            *_hidden(setting, CosineMatching, pairs=last),
            *_prediction(setting, temperature=2.0, weight=5.0, rescaled=True),
            *_labels(setting, 2.0),
        ]
    )


RECIPES: dict[str, Callable[[Setting], Recipe]] = {
    "layered": layered,
    "tinybert": tinybert,
    "bert_pkd": bert_pkd,
    "lrc_bert": lrc_bert,
    "logits_only": logits_only,
    "logits_mse": logits_mse,
    "distilbert": distilbert,
}


def make_recipe(setting: Setting) -> Recipe:
    """Returns the recipe of --method.

    Raises:
        InputError: no such method, or one that doesn't fit these models.
    """
    config = setting.config
    if config.method not in RECIPES:
        raise InputError(f"--method={config.method}: one of {', '.join(RECIPES)}")
    recipe = RECIPES[config.method](setting)
    weight = getattr(config, "representation_loss_weight", 0.0)
    if weight:
        representation = RepresentationMatching(
            "representation_loss", setting.student.layer_width, setting.teacher.layer_width
        )
        recipe = dataclasses.replace(recipe, objectives=[*recipe.objectives, (representation, weight)])
    if not any(weight for _, weight in recipe.objectives):
        raise InputError(f"--method={config.method}: all its losses weigh 0; give at least one of them a weight")
    return recipe


def make_phases(recipe: Recipe, setting: Setting, num_train_steps: int, num_warmup_steps: int) -> list[Phase]:
    """Returns the phases of --schedule, or of the recipe's own schedule.

    Raises:
        InputError: --phase_proportions or the number of updates don't fit it.
    """
    config = setting.config
    plan = schedules.Plan(
        recipe.objectives,
        setting.student.num_layers,
        num_train_steps,
        num_warmup_steps,
        config.phase_proportions,
        recipe.perturbed,
    )
    return (schedules.SCHEDULES[config.schedule] if config.schedule else recipe.schedule)(plan)


def _embedding(setting: Setting) -> WeightedObjectives:
    pairs = [(states.EMBEDDING, states.EMBEDDING)]
    widths = setting.student.embedding_width, setting.teacher.embedding_width
    objective = StateMatching("embedding_loss", pairs, *widths, stage=EMBEDDING_STAGE)
    return [(objective, setting.config.embedding_loss_weight)]


def _hidden(
    setting: Setting,
    kind: type[StateMatching] = StateMatching,
    pairs: list[tuple[str, str]] | None = None,
    **arguments,
) -> WeightedObjectives:
    objective = kind(
        name="hidden_loss",
        pairs=pairs or _mapped(setting, states.hidden),
        student_width=setting.student.layer_width,
        teacher_width=setting.teacher.layer_width,
        share_projection=setting.config.share_projection,
        **arguments,
    )
    return [(objective, setting.config.hidden_loss_weight)]


def _attention(setting: Setting) -> WeightedObjectives:
    weight = setting.config.attention_loss_weight
    if not weight:
        return []
    of_student, of_teacher = (getattr(shape, "num_heads", 0) for shape in (setting.student, setting.teacher))
    if not of_student:
        raise InputError(
            f"--method={setting.config.method} learns attention scores, which a BiLSTM doesn't have: give "
            "--student=transformer, or leave them out with --attention_loss_weight=0"
        )
    if of_student != of_teacher:
        raise InputError(
            f"--method={setting.config.method} matches attention scores head by head: the student has {of_student} "
            f"heads, the teacher {of_teacher}; give --student_attention_heads={of_teacher}, or "
            "--attention_loss_weight=0"
        )
    return [(AttentionMatching("attention_loss", _mapped(setting, states.attention_scores)), weight)]


def _prediction(
    setting: Setting, temperature: float = 1.0, weight: float = 1.0, rescaled: bool = False
) -> WeightedObjectives:
    """Soft predictions; `rescaled`: times Tem², which gives the gradient back what the temperature takes from it."""
    kind = PredictionMatching if setting.is_task else MaskedTokenMatching
    temperature = setting.config.temperature or temperature
    weight *= setting.config.prediction_loss_weight * (temperature**2 if rescaled else 1.0)
    return [(kind("prediction_loss", temperature), weight)]


def _labels(setting: Setting, weight: float = 1.0) -> WeightedObjectives:
    """Right answers: the labels of a task, the masked tokens of a corpus."""
    names = (LABEL_LOSS, "accuracy") if setting.is_task else ("masked_lm_loss", "masked_lm_accuracy")
    return [(HardPrediction(*names), weight * setting.config.label_loss_weight)]


def _labels_of_task(setting: Setting) -> WeightedObjectives:
    """The labels, which count beside every method (paper section 4.3.1); nothing of the kind on a corpus."""
    return _labels(setting) if setting.is_task else []


def _mapped(setting: Setting, state: Callable[[int], str]) -> list[tuple[str, str]]:
    """Pairs of states by the layer map.

    Raises:
        InputError: it doesn't fit the models.
    """
    layer_map, layers = setting.config.layer_map, setting.teacher.num_layers
    given = f"--layer_map={','.join(map(str, layer_map))}"
    if len(layer_map) != setting.student.num_layers:
        raise InputError(
            f"{given} names {len(layer_map)} teacher layers, the student has {setting.student.num_layers}: name one "
            "teacher layer for each student layer"
        )
    outside = [layer for layer in layer_map if not 1 <= layer <= layers]
    if outside:
        raise InputError(f"{given}: teacher layer {outside[0]} doesn't exist; the teacher has layers 1 to {layers}")
    return [(state(own), state(of_teacher)) for own, of_teacher in enumerate(layer_map, start=1)]
