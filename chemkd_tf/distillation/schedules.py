"""When what is learnt (paper section 4.3): all at once, stage by stage, or with layers unfrozen from the top down.

A schedule is a function of a `Plan` to phases. A new one is a function and a row of `SCHEDULES`.

Stages go from the bottom to the top: embedding, hidden, prediction. Sources: the paper's "learning at different
stages"; Mukherjee and Awadallah 2020 (XtremeDistil, arXiv:2004.05686) for gradual unfreezing.
"""

import dataclasses
import functools
from collections.abc import Callable

from chemkd_tf.distillation.objectives import Objective
from chemkd_tf.distillation.objectives.objective import EMBEDDING_STAGE, HIDDEN_STAGE, PREDICTION_STAGE, STAGES
from chemkd_tf.errors import InputError
from chemkd_tf.models import parts
from chemkd_tf.training.phases import Phase, everything, steps_in_proportion

# Shares of the updates where --phase_proportions is empty. The hidden stage is the longest: a BiLSTM comes near a
# transformer's states slowly, near its embedding at once.
_STAGE_SHARES = {EMBEDDING_STAGE: 1.0, HIDDEN_STAGE: 5.0, PREDICTION_STAGE: 4.0}


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a schedule divides into phases.

    Attributes:
        objectives: (objective, weight) pairs of the whole training.
        num_layers: of the student.
        num_train_steps: updates in all.
        num_warmup_steps: of warm-up in all; each phase has its share.
        proportions: of the updates of the phases, or of the stages; empty: the schedule's own.
        perturbed: see `Phase`.
    """

    objectives: list[tuple[Objective, float]]
    num_layers: int
    num_train_steps: int
    num_warmup_steps: int
    proportions: tuple[float, ...] = ()
    perturbed: bool = False

    def weights_of(self, *stages: str) -> dict[str, float]:
        """Losses of these stages, by name."""
        return {objective.name: weight for objective, weight in self.objectives if objective.stage in stages}

    def stages(self) -> list[str]:
        """The stages that something is learnt in, from the bottom to the top."""
        return [stage for stage in STAGES if any(self.weights_of(stage).values())]


@dataclasses.dataclass(frozen=True)
class Part:
    """A phase before its length is known: its share of the updates and what it learns."""

    name: str
    share: float
    loss_weights: dict[str, float]
    moves: Callable[[str], bool] = everything


Schedule = Callable[[Plan], list[Phase]]


def joint(plan: Plan) -> list[Phase]:
    """All losses at once: a single phase."""
    if len(plan.proportions) > 1:
        raise InputError(_wrong_proportions(plan, ["all losses"]))
    return _phases(plan, [Part("", 1.0, plan.weights_of(*STAGES))])


def stagewise(plan: Plan) -> list[Phase]:
    """A phase for each stage, with that stage's losses alone; it trains what they reach.

    embedding: the embedding; hidden: embedding and layers; prediction: everything. What an earlier stage has learnt
    thus goes on moving, under another loss.
    """
    return _phases(plan, [_stage(plan, stage) for stage in plan.stages()])


def gradual_unfreezing(plan: Plan) -> list[Phase]:
    """`stagewise`, but the prediction stage begins with the head alone and unfreezes from the top down.

    Its updates are divided evenly: head; head and last layer; ...; everything with the embedding. What the layers have
    learnt from the teacher is not forgotten while the head is still at random.
    """
    found = []
    for stage in plan.stages():
        if stage != PREDICTION_STAGE:
            found.append(_stage(plan, stage))
            continue
        unfrozen = [parts.HEAD, *map(parts.layer, range(plan.num_layers, 0, -1)), parts.EMBEDDING]
        share = _share_of_stage(plan, stage) / len(unfrozen)
        weights = plan.weights_of(stage)
        found += [
            Part(f"{stage} from {top} on", share, weights, functools.partial(_moves, weights, tuple(unfrozen[:number])))
            for number, top in enumerate(unfrozen, start=1)
        ]
    return _phases(plan, found)


def intermediate_first(plan: Plan) -> list[Phase]:
    """TinyBERT's task distillation: first what lies below the predictions, then the predictions, everything moving."""
    shares = plan.proportions or (1.0, 1.0)
    if len(shares) != 2:
        raise InputError(_wrong_proportions(plan, ["intermediate", "prediction"]))
    below, above = (plan.weights_of(EMBEDDING_STAGE, HIDDEN_STAGE), plan.weights_of(PREDICTION_STAGE))
    return _phases(plan, [Part("intermediate", shares[0], below), Part("prediction", shares[1], above)])


def intermediate_only(plan: Plan) -> list[Phase]:
    """TinyBERT's general distillation: nothing of the predictions."""
    return _phases(plan, [Part("", 1.0, plan.weights_of(EMBEDDING_STAGE, HIDDEN_STAGE))])


def contrastive_first(plan: Plan) -> list[Phase]:
    """LRC-BERT's two stages: 80 % of the updates for the hidden states alone, the rest for everything."""
    shares = plan.proportions or (0.8, 0.2)
    if len(shares) != 2:
        raise InputError(_wrong_proportions(plan, ["contrastive", "all"]))
    hidden = plan.weights_of(HIDDEN_STAGE)
    return _phases(plan, [Part("contrastive", shares[0], hidden), Part("all", shares[1], plan.weights_of(*STAGES))])


# The values of --schedule; a method's own may be another one.
SCHEDULES: dict[str, Schedule] = {
    "joint": joint,
    "stagewise": stagewise,
    "gradual_unfreezing": gradual_unfreezing,
}


def _stage(plan: Plan, stage: str) -> Part:
    layers = tuple(parts.layer(number) for number in range(1, plan.num_layers + 1))
    reached = {
        EMBEDDING_STAGE: (parts.EMBEDDING,),
        HIDDEN_STAGE: (parts.EMBEDDING, *layers),
        PREDICTION_STAGE: (parts.EMBEDDING, *layers, parts.HEAD),
    }
    weights = plan.weights_of(stage)
    return Part(stage, _share_of_stage(plan, stage), weights, functools.partial(_moves, weights, reached[stage]))


def _share_of_stage(plan: Plan, stage: str) -> float:
    if not plan.proportions:
        return _STAGE_SHARES[stage]
    stages = plan.stages()
    if len(plan.proportions) != len(stages):
        raise InputError(_wrong_proportions(plan, stages))
    return plan.proportions[stages.index(stage)]


def _moves(losses: dict[str, float], moving: tuple[str, ...], path: str) -> bool:
    """Projections move with their loss, what belongs to the student by its part."""
    if any(path.startswith(f"{loss}_projection") for loss in losses):
        return True
    return parts.part_of(path) in moving


def _phases(plan: Plan, found: list[Part]) -> list[Phase]:
    if plan.num_train_steps < len(found):
        raise InputError(
            f"--num_train_steps={plan.num_train_steps}: the schedule has {len(found)} phases, which need an update each"
        )
    steps = steps_in_proportion(plan.num_train_steps, [part.share for part in found])
    return [
        Phase(
            part.name,
            number,
            round(plan.num_warmup_steps * number / plan.num_train_steps),
            part.loss_weights,
            part.moves,
            plan.perturbed,
        )
        for part, number in zip(found, steps, strict=True)
    ]


def _wrong_proportions(plan: Plan, names: list[str]) -> str:
    given = ",".join(f"{share:g}" for share in plan.proportions)
    return (
        f"--phase_proportions={given}: {len(plan.proportions)} numbers, but the schedule has {len(names)} "
        f"stage{'s' if len(names) > 1 else ''}: " + ", ".join(names)
    )
