"""Objectives: Keras layers that name the states they need, own their projections, and return (sum, weight)."""

from chemkd_tf.distillation.objectives.attention_matching import AttentionMatching as AttentionMatching
from chemkd_tf.distillation.objectives.contrastive import ContrastiveMatching as ContrastiveMatching
from chemkd_tf.distillation.objectives.objective import Objective as Objective
from chemkd_tf.distillation.objectives.objective import Outcome as Outcome
from chemkd_tf.distillation.objectives.predictions import HardPrediction as HardPrediction
from chemkd_tf.distillation.objectives.predictions import LogitsMatching as LogitsMatching
from chemkd_tf.distillation.objectives.predictions import MaskedLogitsMatching as MaskedLogitsMatching
from chemkd_tf.distillation.objectives.predictions import MaskedTokenMatching as MaskedTokenMatching
from chemkd_tf.distillation.objectives.predictions import PredictionMatching as PredictionMatching
from chemkd_tf.distillation.objectives.state_matching import ClsMatching as ClsMatching
from chemkd_tf.distillation.objectives.state_matching import CosineMatching as CosineMatching
from chemkd_tf.distillation.objectives.state_matching import RepresentationMatching as RepresentationMatching
from chemkd_tf.distillation.objectives.state_matching import StateMatching as StateMatching
