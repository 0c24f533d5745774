"""A teacher, a student and a method made into a distiller: the same for a corpus and for a task."""

import keras

from chemkd_tf.distillation.batches import View
from chemkd_tf.distillation.distiller import Distiller
from chemkd_tf.distillation.recipes import Setting, make_phases, make_recipe
from chemkd_tf.models import states
from chemkd_tf.models.attention_scores import with_attention_scores
from chemkd_tf.models.embedding_split import split_at_embedding


def make_distiller(
    setting: Setting,
    teacher: keras.Model,
    student: keras.Model,
    view: View,
    num_train_steps: int,
    num_warmup_steps: int,
) -> Distiller:
    """Returns a distiller of --method, compiled for the phases of --schedule.

    Args:
        setting: what the method is made for; its config is also the training's.
        teacher: returns states, with the head of the view's predictions.
        student: likewise.
        view: of a corpus or of a task.
        num_train_steps: updates of all phases together.
        num_warmup_steps: likewise.

    Raises:
        InputError: the method or the schedule doesn't fit.
    """
    recipe = make_recipe(setting)
    objectives = [objective for objective, _ in recipe.objectives]
    teacher = _with_states(teacher, {name for objective in objectives for name in objective.teacher_states})
    student = _with_states(student, {name for objective in objectives for name in objective.student_states})
    distiller = Distiller(
        teacher,
        student,
        recipe.objectives,
        setting.config.random_seed,
        view,
        split_at_embedding(student) if recipe.perturbed else None,
        "bfloat16" if setting.config.teacher_bfloat16 else "float32",
    )
    distiller.compile_for_phases(setting.config, make_phases(recipe, setting, num_train_steps, num_warmup_steps))
    return distiller


def _with_states(model: keras.Model, names: set[str]) -> keras.Model:
    """Returns a model that also returns those states of `names` that aren't computed unless asked for."""
    prefix = states.attention_scores(0)[:-1]
    layers = sorted(int(name.removeprefix(prefix)) for name in names if name.startswith(prefix))
    return with_attention_scores(model, layers) if layers else model
