"""The trained classifier leaves Keras: each format asked for, with what it needs to answer in names of classes.

Beside them lies a model card.
"""

import os

from chemkd_tf.config.export import ExportConfig
from chemkd_tf.errors import InputError
from chemkd_tf.export.formats import FORMATS
from chemkd_tf.export.model_card import write_model_card
from chemkd_tf.models.classifier import TextClassifier
from chemkd_tf.text.tokenizers import TOKENIZERS


def export(config: ExportConfig, classifier: TextClassifier, output_dir: str) -> dict[str, list[str]]:
    """Writes the formats of --export_formats below --export_dir.

    Args:
        config: settings, checked.
        classifier: what is exported.
        output_dir: where the folder `export` lies unless --export_dir says otherwise.

    Returns:
        Paths of the models by format.

    Raises:
        InputError: something else lies where a format goes, a package that it needs is missing, or the classifier
            reads its texts in a way that works in Python alone.
    """
    obstacle = TOKENIZERS[classifier.description.tokenizer].obstacle
    if obstacle:
        raise InputError(
            f"--do_export: the classifier in {output_dir} can't leave Python: {obstacle}; use it with --do_predict, or "
            "train one of --model=pretrained"
        )
    export_dir = config.export_dir or os.path.join(output_dir, "export")
    models = {}
    for name in config.formats:
        models[name] = FORMATS[name].export(classifier, folder_of(config, export_dir, name))
        for path in models[name]:
            print(f"{name}: {path}", flush=True)
    print(f"model card: {write_model_card(classifier, export_dir, models, config.card_latency)}", flush=True)
    return models


def folder_of(config: ExportConfig, export_dir: str, name: str) -> str:
    """The folder of a format. A SavedModel lies in a folder named after its version, as TensorFlow Serving wants it."""
    return os.path.join(export_dir, name, *([str(config.export_version)] if name == "saved_model" else []))
