"""Settings of what is made of a trained classifier, and of what answers with it."""

import dataclasses

from chemkd_tf.config.options import option, require

EXPORT_FORMATS = ("saved_model", "litert", "onnx")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Export and prediction: `run_classifier.py --do_export` and `--do_predict`."""

    do_predict: bool = option(False, "Classify --predict_file or --text.")
    do_export: bool = option(False, "Write --export_formats and a model card to --export_dir.")
    export_formats: str = option("saved_model", "Comma-separated, of saved_model, litert and onnx.")
    export_dir: str = option("", "Folder with one folder for each format; empty: export in --output_dir.")
    export_version: int = option(1, "Name of the SavedModel's folder, which is how TensorFlow Serving counts versions.")
    card_latency: bool = option(True, "Time each exported model for the model card, which takes seconds for each.")
    predict_file: str = option("", "Texts to classify: .tsv, .csv, .jsonl, or one text a line.")
    predict_output_file: str = option("", "Where predictions go; empty: predictions.tsv in --output_dir.")
    predict_with: str = option(
        "", "An exported model that predicts: a SavedModel's folder, a .tflite or an .onnx. Empty: the trained one."
    )
    text: str = option("", "One sentence to classify; the answer is printed.")

    @property
    def formats(self) -> tuple[str, ...]:
        """Names of the formats asked for, each once, in the order given."""
        return tuple(dict.fromkeys(name.strip() for name in self.export_formats.split(",") if name.strip()))

    def require_export(self) -> None:
        """Checks the settings.

        Raises:
            InputError: a format that isn't known, a version below 1, or nothing to predict.
        """
        unknown = [name for name in self.formats if name not in EXPORT_FORMATS]
        require(not unknown, f"--export_formats: {', '.join(unknown)} is none of {', '.join(EXPORT_FORMATS)}")
        require(bool(self.formats) or not self.do_export, "--export_formats is empty: name at least one format")
        require(self.export_version >= 1, f"--export_version={self.export_version}: 1 or more")
        require(
            not self.do_predict or bool(self.predict_file) or bool(self.text),
            "--do_predict needs --predict_file=FILE or --text='一句话'",
        )
