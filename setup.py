"""Package metadata and pins. Tool settings stand in pyproject.toml."""

import pathlib
import re

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "chemkd_tf" / "__init__.py").read_text(encoding="utf-8")).group(1)

# Pinned to versions that were seen to work together; tensorflow-text must match TensorFlow's minor version.
REQUIREMENTS = [
    "tensorflow==2.21.0",
    "keras==3.15.1",
    "keras-nlp==0.32.0",
    "keras-hub==0.32.0",
    "tensorflow-text==2.21.1",
    "tensorboard>=2.19,<3",
    "tokenizers>=0.21,<1",
    "numpy>=2,<3",
    "safetensors>=0.5,<1",
    "jieba==0.42.1",
    "absl-py>=2.1,<3",
    "google-crc32c>=1.5,<2",
    # TensorBoard imports pkg_resources, which setuptools 82 dropped.
    "setuptools<81",
]
DEMO = ["scikit-learn>=1.5,<2"]  # the TF-IDF baselines of the demo's table
CLEAN = ["datasketch>=1.6,<3", "zstandard>=0.22,<1"]  # data_prep/clean_corpus.py
PLOT = ["matplotlib>=3.10,<4"]  # benchmarks/inference_plot.py
# The peers of benchmarks/pretraining.py, distiller.py and inference.py; TextBrewer itself comes from its repository.
BENCHMARK = [*PLOT, "torch==2.13.0", "transformers==5.23.0", "tqdm>=4.60,<5"]
BEAM = ["apache-beam==2.77.0"]  # create_pretraining_data.py --runner
# --export_formats=onnx; answering needs onnxruntime alone.
ONNX = ["onnx>=1.18,<2", "onnxruntime>=1.22,<2", "tf2onnx>=1.17,<2"]
LITERT = ["ai-edge-litert>=2.1,<3"]  # answering with a .tflite; writing one needs nothing more
TEST = [
    *DEMO,
    *CLEAN,
    *BEAM,
    *LITERT,
    *ONNX,
    *PLOT,
    "hypothesis>=6.100,<7",
    "psutil>=5.9,<8",  # benchmarks/process_memory.py
    "pytest>=8,<10",
    "pytest-xdist>=3.6,<4",
    "PyYAML>=6,<7",  # reads the model card's header
    "ruff==0.17.5",
]

setup(
    name="chemkd_tf",
    version=VERSION,
    description="Tiny, fast Chinese domain language models by layered knowledge distillation, in TensorFlow",
    long_description=(HERE / "README.md").read_text(encoding="utf-8") if (HERE / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11,<3.12",
    packages=find_packages(include=["chemkd_tf*", "data_prep*", "benchmarks*"]),
    py_modules=["run_pretraining", "run_distill", "run_classifier"],
    install_requires=REQUIREMENTS,
    extras_require={
        "beam": BEAM,
        "benchmark": BENCHMARK,
        "clean": CLEAN,
        "demo": DEMO,
        "litert": LITERT,
        "onnx": ONNX,
        "test": TEST,
    },
)
