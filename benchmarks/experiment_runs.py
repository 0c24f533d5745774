"""From an experiment to its runs: the command of each, what it needs, and a folder named after exactly that command."""

import dataclasses
import hashlib
import itertools
import math
import os
import re
import shlex
from collections.abc import Iterator

from benchmarks.bag_of_words import Split, read_split
from benchmarks.experiment import BASELINE, TEACHER, Experiment, Method, Task
from benchmarks.splits import digest_of, make_splits, write_split
from chemkd_tf.data.labelled import find_split
from chemkd_tf.errors import InputError

_PLACEHOLDER = re.compile(r"\{([a-z_]+)(?::([^{}]+))?\}")
_ROOT = "{output_dir}"
# What a distillation's flags may name without belonging to one task.
_OF_THE_CORPUS = {"teacher", "records", "heldout", "seed"}


@dataclasses.dataclass(frozen=True)
class Cell:
    """What one classifier is trained and reported on. `size` 0: all labels."""

    task: str
    size: int
    seed: int
    fold: int

    def __str__(self) -> str:
        return f"{self.task}, {self.size or 'all'} labels, seed {self.seed}, fold {self.fold}"


@dataclasses.dataclass(frozen=True, eq=False)  # there is one object for each
class ExperimentRun:
    """One command.

    Attributes:
        method: whose.
        script: run_distill.py, run_classifier.py, or BASELINE.
        cell: None for a distillation on the corpus.
        seed: --random_seed.
        folder: its working directory in the output directory; beside it lie `folder`.log and `folder`.run.json.
        arguments: of the script, --output_dir among them.
        done: path of the file that it writes last.
        needs: what must be done before.
    """

    method: str
    script: str
    cell: Cell | None
    seed: int
    folder: str
    arguments: tuple[str, ...]
    done: str
    needs: tuple["ExperimentRun", ...] = ()

    @property
    def output_dir(self) -> str:
        """Its working directory."""
        return os.path.dirname(self.done)

    @property
    def is_done(self) -> bool:
        """Whether it was completed, by whomever."""
        return os.path.exists(self.done)

    @property
    def weights(self) -> str:
        """The file that other runs start from."""
        return f"{self.output_dir}/classifier.weights.h5" if self.script == "run_classifier.py" else self.done

    @property
    def has_weights(self) -> bool:
        """Whether it is all there; of a run that was restored (`kept_runs`) only the answers are."""
        return self.is_done and os.path.exists(self.weights)

    @property
    def command(self) -> str:
        """What a person would type."""
        module = "-m benchmarks.baseline_run" if self.script == BASELINE else self.script
        return f"python {module} {shlex.join(self.arguments)}"

    @property
    def kind(self) -> tuple:
        """Runs of one kind take about as long as one another."""
        return (self.method, self.script, *((self.cell.task, self.cell.size) if self.cell else ()))

    def __str__(self) -> str:
        return f"{self.method}: {self.cell or f'distillation, seed {self.seed}'}"


class ExperimentRuns:
    """Every run of an experiment.

    Args:
        experiment: what to compare.
        output_dir: where everything goes.

    Raises:
        InputError: a placeholder that stands for nothing, methods that need each other, labels too few to split.
    """

    def __init__(self, experiment: Experiment, output_dir: str):
        self.experiment = experiment
        self.output_dir = output_dir.rstrip("/")
        self._tasks = {task.name: task for task in experiment.tasks}
        self._texts = {task.name: _read_task(task) for task in experiment.tasks}
        self._splits: dict[tuple[str, int, int], list[dict[str, Split]]] = {}
        self._data: dict[Cell, str] = {}
        self._made: dict[tuple, ExperimentRun] = {}
        self._making: list[tuple] = []
        self.all = self._in_order()

    def of(self, method: str, cell: Cell) -> ExperimentRun:
        """The run that answers for the texts of `cell`; of `BASELINE`, too."""
        if method == BASELINE:
            return self._once((method, cell), lambda: self._baseline(cell))
        return self._once((method, cell), lambda: self._classifier(self.experiment.method(method), cell))

    def cells(self, task: str, size: int, seed: int) -> list[Cell]:
        """The folds of one seed."""
        return [Cell(task, size, seed, fold) for fold in range(max(self._tasks[task].num_folds, 1))]

    def split(self, cell: Cell) -> dict[str, Split]:
        """The texts of a cell: train, dev, test."""
        key = (cell.task, cell.size, cell.seed)
        if key not in self._splits:
            task = self._tasks[cell.task]
            try:
                self._splits[key] = make_splits(*self._texts[cell.task], task.num_folds, cell.size, cell.seed)
            except InputError as error:
                raise InputError(f"{self.experiment.path}, [[tasks]] {cell.task}: {error}") from None
        return self._splits[key][cell.fold]

    def data_dir(self, cell: Cell) -> str:
        """The folder with the texts of a cell."""
        return self._data_dir(cell).replace(_ROOT, self.output_dir)

    def write_data(self) -> None:
        """Writes the texts of every cell that aren't there yet; test.tsv comes last."""
        for cell in self._data:
            if not os.path.exists(f"{self.data_dir(cell)}/test.tsv"):
                write_split(self.data_dir(cell), self.split(cell))

    def _in_order(self) -> list[ExperimentRun]:
        """Few labels before many, the first seed of every method before the second; before each run what it needs."""
        sizes = {size for task in self.experiment.tasks for size in task.sizes}
        ordered: dict[ExperimentRun, None] = {}
        for size in sorted(sizes, key=lambda size: size or math.inf):
            for seed, task in itertools.product(self.experiment.seeds, self.experiment.tasks):
                if size not in task.sizes:
                    continue
                methods = [method.name for method in self.experiment.methods if method.applies_to(task.name, size)]
                for method in ([BASELINE] if self.experiment.baselines else []) + methods:
                    for cell in self.cells(task.name, size, seed):
                        ordered.update(dict.fromkeys(_needed_first(self.of(method, cell))))
        return list(ordered)

    def _once(self, key: tuple, make) -> ExperimentRun:
        if key in self._making:
            names = " and ".join(sorted({entry[0] for entry in self._making}))
            raise InputError(f"{self.experiment.path}: {names} need each other: no placeholder may lead back")
        if key not in self._made:
            self._making.append(key)
            self._made[key] = make()
            self._making.pop()
        return self._made[key]

    def _baseline(self, cell: Cell) -> ExperimentRun:
        return self._run(BASELINE, BASELINE, cell, cell.seed, (), ["--data_dir={data}"], "scores.json")

    def _classifier(self, method: Method, cell: Cell) -> ExperimentRun:
        flags = [
            "--do_train", "--do_eval", "--do_predict", "--data_dir={data}", "--predict_file={data}/test.tsv",
            "--random_seed={seed}",
            *([f"--init_checkpoint={self.experiment.teacher_dir}"] if method.name == TEACHER else []),
            *self._tasks[cell.task].classifier.of(cell.task, cell.size), *method.classifier.of(cell.task, cell.size),
        ]  # fmt: skip
        return self._run(method.name, "run_classifier.py", cell, cell.seed, (method.student_of,), flags,
                         "predictions.tsv")  # fmt: skip

    def _distillation(self, name: str, cell: Cell) -> ExperimentRun:
        """Of the corpus, one for a seed; if its flags name something of a task, one for each cell."""
        method = next((method for method in self.experiment.methods if method.name == name), None)
        if method is None or method.distill is None:
            raise InputError(
                f"{self.experiment.path}: a {{student}} of {name!r} is asked for, but no method of that name has "
                "distill_flags"
            )
        flags = ["--teacher_dir={teacher}", "--input_file={records}", "--random_seed={seed}"]
        flags += ["--eval_input_file={heldout}"] * bool(self.experiment.heldout)
        flags += [*self.experiment.distill, *method.distill]
        named = {match[1] for flag in flags for match in _PLACEHOLDER.finditer(flag)}
        of_task = cell if named - _OF_THE_CORPUS else None
        seed = self.experiment.distillation_seed(cell.seed)
        return self._once(
            (name, "distillation", seed, of_task),
            lambda: self._run(name, "run_distill.py", of_task, seed, (name,), flags, "model.weights.h5"),
        )

    def _run(
        self, method: str, script: str, cell: Cell | None, seed: int, student_of: tuple, flags: list[str], last: str
    ) -> ExperimentRun:
        needs: dict[ExperimentRun, None] = {}

        def fill(match: re.Match) -> str:
            kind, name = match[1], match[2]
            if kind in ("student", "classifier", "teacher_classifier") and cell is not None:
                if kind == "student":
                    needed = self._distillation(name or student_of[0], cell)
                else:
                    needed = self.of(TEACHER if kind == "teacher_classifier" else self._named(name), cell)
                needs[needed] = None
                return f"{_ROOT}/{needed.folder}"
            values = {"teacher": self.experiment.teacher_dir, "seed": str(seed)}
            values |= {"records": self.experiment.records, "heldout": self.experiment.heldout}
            if cell is not None:
                values |= {"data": self._data_dir(cell), "fold": str(cell.fold)}
                values["unlabelled"] = self._tasks[cell.task].unlabelled
            if name or not values.get(kind):
                raise InputError(
                    f"{self.experiment.path}, method {method}: {match[0]} stands for nothing here; there are "
                    + ", ".join(f"{{{key}}}" for key in sorted(key for key, value in values.items() if value))
                    + ", {student}, {student:METHOD}, {teacher_classifier}, {classifier:METHOD}"
                )
            return values[kind]

        logical = tuple(_PLACEHOLDER.sub(fill, flag) for flag in flags)
        digest = hashlib.sha256("\0".join((script, *logical)).encode("utf-8")).hexdigest()[:10]
        place = f"{cell.task}_{cell.size or 'all'}/seed{seed}_fold{cell.fold}" if cell else f"corpus/seed{seed}"
        kind = "distilled" if script == "run_distill.py" else "classified"
        folder = f"runs/{method}/{kind}/{place}-{digest}"
        arguments = (f"--output_dir={_ROOT}/{folder}", *logical)
        return ExperimentRun(
            method, script, cell, seed, folder,
            tuple(argument.replace(_ROOT, self.output_dir) for argument in arguments),
            f"{self.output_dir}/{folder}/{last}", tuple(needs),
        )  # fmt: skip

    def _named(self, name: str | None) -> str:
        if name not in {method.name for method in self.experiment.methods}:
            raise InputError(f"{self.experiment.path}: {{classifier:{name}}}: there is no method of that name")
        return name

    def _data_dir(self, cell: Cell) -> str:
        """The folder of a cell's texts, named after their digest."""
        if cell not in self._data:
            digest = digest_of(self.split(cell))[:10]
            folder = f"data/{cell.task}_{cell.size or 'all'}/seed{cell.seed}_fold{cell.fold}-{digest}"
            self._data[cell] = f"{_ROOT}/{folder}"
        return self._data[cell]


def _needed_first(run: ExperimentRun) -> Iterator[ExperimentRun]:
    for needed in run.needs:
        yield from _needed_first(needed)
    yield run


def _read_task(task: Task) -> tuple[Split, Split]:
    paths = [find_split(task.data_dir, split) for split in ("train", "dev")]
    for split, path in zip(("train", "dev"), paths, strict=True):
        if path is None:
            raise InputError(f"[[tasks]] {task.name}: data_dir = {task.data_dir}: no {split}.tsv, .csv or .jsonl in it")
    return read_split(paths[0]), read_split(paths[1])
