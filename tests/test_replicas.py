"""Two replicas from the command line, where TensorFlow's devices are still to be chosen, make the model that one makes.

(Inside the test process two logical CPU devices are there from the start: see conftest.)
"""

import os
import subprocess
import sys

import numpy as np
import pipeline
import pytest
import tiny

from chemkd_tf.stages import classify, distill, pretrain


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return pipeline.build(tmp_path_factory)


@pytest.mark.parametrize(
    "stage", [pytest.param("pretraining", marks=pytest.mark.slow), "distillation", "classification"]
)
def test_two_replicas_make_the_model_that_one_makes(built, tmp_path, stage):
    script, run, weights_file, changes = {
        "pretraining": (
            "run_pretraining.py", pretrain.train_and_evaluate, "model.weights.h5", {"hidden_dropout_prob": 0.0}
        ),
        "distillation": ("run_distill.py", distill.train_and_evaluate, "model.weights.h5", {}),
        "classification": ("run_classifier.py", classify.run, "classifier.weights.h5", {"classifier_dropout": 0.0}),
    }[stage]  # fmt: skip
    one, two = (getattr(pipeline, stage)(built, tmp_path / f"{n}", num_replicas=n, **changes) for n in (1, 2))
    with tiny.unoptimised_graphs():
        run(one)
    done = subprocess.run(
        [sys.executable, str(pipeline.ROOT / script), *pipeline.flags_of(two)],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    expected, found = (pipeline.arrays(f"{config.output_dir}/{weights_file}") for config in (one, two))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        # A bias of the keys changes no attention: its gradient is rounding errors alone, which Adam makes larger.
        without_gradient = "key_dense" in name or "key" in name.split("/")
        np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-3 if without_gradient else 1e-6, err_msg=name)
