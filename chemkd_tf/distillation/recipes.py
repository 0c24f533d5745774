"""Methods of distillation: name to a function that makes the weighted objectives. A new method is a new line."""

from collections.abc import Callable

from chemkd_tf.config import DistillationConfig
from chemkd_tf.distillation.objectives import Objective, PredictionMatching, StateMatching
from chemkd_tf.errors import InputError
from chemkd_tf.models import states
from chemkd_tf.models.architecture import Architecture, TeacherArchitecture

WeightedObjectives = list[tuple[Objective, float]]


def layered(config: DistillationConfig, teacher: TeacherArchitecture, student: Architecture) -> WeightedObjectives:
    """The paper's method (section 3.3): L = a·L_emb + b·L_hid + c·L_pred."""
    pairs = [
        (states.hidden(student_layer), states.hidden(teacher_layer))
        for student_layer, teacher_layer in enumerate(config.layer_map, start=1)
    ]
    embedding = StateMatching(
        "embedding_loss", [(states.EMBEDDING, states.EMBEDDING)], student.embedding_width, teacher.embedding_width
    )
    hidden = StateMatching("hidden_loss", pairs, student.layer_width, teacher.layer_width, config.share_projection)
    prediction = PredictionMatching("prediction_loss", config.temperature)
    return [
        (embedding, config.embedding_loss_weight),
        (hidden, config.hidden_loss_weight),
        (prediction, config.prediction_loss_weight),
    ]


RECIPES: dict[str, Callable[[DistillationConfig, TeacherArchitecture, Architecture], WeightedObjectives]] = {
    "layered": layered,
}


def make_objectives(
    config: DistillationConfig, teacher: TeacherArchitecture, student: Architecture
) -> WeightedObjectives:
    """Returns the objectives of --method.

    Raises:
        InputError: no such method.
    """
    if config.method not in RECIPES:
        raise InputError(f"--method={config.method}: one of {', '.join(RECIPES)}")
    return RECIPES[config.method](config, teacher, student)
