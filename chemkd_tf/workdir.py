"""What a stage leaves behind, and where the next one finds it.

config.json      the stage's settings, written before the first update
run.json         command line, versions, seed
data.json        of a classifier: files, numbers of texts and of each label
metrics.jsonl    one object per line: step, split, metrics
tensorboard/     the same as event files
checkpoints/     to resume from
best/            what the next stage reads, of the update with the lowest held-out loss (pretraining, distillation)
architecture.json, model.weights.h5, vocab.txt    the result, read by the next stage
"""

import dataclasses
import json
import os
import platform
import sys
from typing import Any

from chemkd_tf import __version__
from chemkd_tf.atomic import atomic_write, write_json
from chemkd_tf.errors import InputError

BEST_FOLDER = "best"
DATA_FILE = "data.json"
# What the model card tells of a training; a classifier made of another one keeps a copy of the other's.
RECORD_FILES = ("config.json", "run.json", DATA_FILE)
# Where it keeps them.
ORIGIN_FOLDER = "shrunk_from"
# Settings that may change between a run and its continuation: they don't change what is learned.
FREE_TO_CHANGE = {
    "num_replicas", "gradient_accumulation_steps", "save_checkpoints_steps", "log_every_steps", "eval_batch_size",
    "do_train", "do_eval", "do_predict", "do_export", "export_format", "predict_file", "predict_output_file", "text",
    "export_dir", "export_formats", "export_version", "predict_with", "teacher_cache_gb", "teacher_cache_dir",
    "card_latency",
}  # fmt: skip


class WorkingDirectory:
    """The folder of one run.

    Args:
        path: created if missing.
        writes: False where another process writes it (see `training.chief`): nothing is made or written, nor need it
            be there.
    """

    def __init__(self, path: str, writes: bool = True):
        self.path = path
        self.writes = writes
        if not writes:
            return
        try:
            os.makedirs(path, exist_ok=True)
        except OSError as error:
            raise InputError(f"--output_dir={path}: can't be created ({error.strerror})") from None

    def file(self, *parts: str) -> str:
        """Path of something inside."""
        return os.path.join(self.path, *parts)

    def begin(self, stage: str, config: Any) -> None:
        """Writes config.json and run.json, or checks that a continued run has the settings it began with.

        Raises:
            InputError: the folder holds a run of another stage, or one with other settings.
        """
        settings = json.loads(json.dumps({"stage": stage, **dataclasses.asdict(config)}))
        path = self.file("config.json")
        if os.path.exists(path):
            # A setting that an earlier version hadn't got was, in effect, what is now its default.
            defaults = {field.name: field.default for field in dataclasses.fields(config)}
            before = {**json.loads(json.dumps(defaults)), **read_json(path)}
            _refuse_changed_settings(path, before, settings)
        else:
            write_json(path, settings)
        write_json(
            self.file("run.json"),
            {
                "argv": sys.argv,
                "random_seed": config.random_seed,
                "versions": versions(),
                "machine": {"platform": platform.platform(), "cpu_count": os.cpu_count()},
            },
        )

    def truncate_metrics(self, step: int) -> None:
        """Drops the lines of metrics.jsonl beyond `step`: a resumed run writes them again."""
        path = self.file("metrics.jsonl")
        if not self.writes or not os.path.exists(path):
            return
        kept = []
        with open(path, encoding="utf-8") as file:
            for line in file:
                try:
                    if json.loads(line)["step"] <= step:
                        kept.append(line.rstrip("\n") + "\n")  # a kill may have cut off the line's end alone
                except ValueError:
                    pass  # the line that a kill cut in two
        with atomic_write(path) as file:
            file.writelines(kept)

    def append_metrics(self, step: int, split: str, metrics: dict[str, float]) -> None:
        """Appends one line to metrics.jsonl."""
        with open(self.file("metrics.jsonl"), "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "split": split, **metrics}) + "\n")


def _refuse_changed_settings(path: str, before: dict, now: dict) -> None:
    if before.get("stage") != now["stage"]:
        raise InputError(f"{path} belongs to a run of '{before.get('stage')}': choose another --output_dir")
    for name, value in now.items():
        if name not in FREE_TO_CHANGE and name != "output_dir" and before.get(name) != value:
            raise InputError(
                f"{path}: this run began with --{name}={before.get(name)}, now it is {value}; "
                "choose another --output_dir, or delete this one to begin again"
            )


def read_json(path: str) -> Any:
    """Reads a JSON file.

    Raises:
        InputError: it is missing or is no JSON.
    """
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error})") from None


def versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    from importlib import metadata

    names = ("tensorflow", "keras", "keras-nlp", "tensorflow-text", "numpy")
    return {"chemkd_tf": __version__, "python": platform.python_version(), **{n: metadata.version(n) for n in names}}
