"""Held-out figures: the terms of every batch, added up in float64 on the host, summarised once."""

import numpy as np
import tensorflow as tf

from chemkd_tf.training.multi_worker import distribute
from chemkd_tf.training.replica_exact import ReplicaExactModel, Totals


class Evaluator:
    """Evaluates a model on a finite data set; traces the model once.

    Args:
        model: the model, built under `strategy`.
        strategy: where it lives.
        dataset: yields global batches of one static batch size, the last filled with rows of weight 0.
        max_steps: most batches; 0 takes all.

    Attributes:
        latest: what it returned last; empty before.
    """

    def __init__(
        self,
        model: ReplicaExactModel,
        strategy: tf.distribute.Strategy,
        dataset: tf.data.Dataset,
        max_steps: int = 0,
    ):
        self.latest: dict[str, float] = {}
        self._model = model
        self._dataset = distribute(strategy, dataset.take(max_steps) if max_steps else dataset)

        @tf.function(reduce_retracing=True)
        def totals_of(batch):
            # Already summed over the replicas: every replica holds the same, the first one's is taken.
            per_replica = strategy.run(model.compute_totals, args=(batch,))
            return tf.nest.map_structure(lambda value: strategy.experimental_local_results(value)[0], per_replica)

        self._totals_of = totals_of

    def __call__(self) -> dict[str, float]:
        """Returns every metric as a Python float."""
        totals = None
        for batch in self._dataset:
            more = tf.nest.map_structure(lambda value: value.numpy().astype(np.float64), self._totals_of(batch))
            totals = more if totals is None else tf.nest.map_structure(np.add, totals, more)
        if totals is None:
            return {}
        metrics = self._model.metrics_of(Totals(*totals))
        self.latest = {name: float(value) for name, value in metrics.items()}
        return self.latest
