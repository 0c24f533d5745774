"""A classifier of random weights, and its ONNX files."""

import pytest
from export.random_classifier import make

from chemkd_tf.export import onnx


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    return make(tmp_path_factory.mktemp("classifier"))


@pytest.fixture(scope="module")
def exported(classifier, tmp_path_factory):
    """Paths of fp32.onnx and int8.onnx."""
    return onnx.export(classifier, str(tmp_path_factory.mktemp("export") / "onnx"))
