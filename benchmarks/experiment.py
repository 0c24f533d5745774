"""The file that describes a comparison: methods, tasks, seeds. Read here, refused here if it is not right."""

import dataclasses
import os
import re
import shlex
import tomllib
from typing import Any

from chemkd_tf.errors import InputError

BASELINE = "tfidf"
"""One run makes both baselines."""
BASELINES = ("character_tfidf", "word_tfidf")
TEACHER = "teacher"
COMPARE_WITH = "undistilled"
"""What the others are tested against unless the file says otherwise."""
TABLES = (2, 3)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


@dataclasses.dataclass(frozen=True)
class Flags:
    """Flags of a command, some for all its runs and some for certain tasks or sizes. Later ones win.

    Attributes:
        always: of every run.
        by_task: by name of the task.
        by_size: by number of labels.
    """

    always: tuple[str, ...] = ()
    by_task: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    by_size: dict[int, tuple[str, ...]] = dataclasses.field(default_factory=dict)

    def of(self, task: str, size: int) -> list[str]:
        """Those for one task and size, in the order in which they override one another."""
        return [*self.always, *self.by_size.get(size, ()), *self.by_task.get(task, ())]


@dataclasses.dataclass(frozen=True)
class Task:
    """A labelled task.

    Attributes:
        name: as in the tables.
        data_dir: folder with train and dev.
        num_folds: see `splits.make_splits`.
        sizes: numbers of labels to train on; 0: all.
        unlabelled: text files for distillation on the task, or "".
        classifier: flags for every method's classifier on this task.
    """

    name: str
    data_dir: str
    num_folds: int
    sizes: tuple[int, ...]
    unlabelled: str
    classifier: Flags


@dataclasses.dataclass(frozen=True)
class Method:
    """One row of the tables.

    Attributes:
        name: as in the tables.
        tables: numbers of the tables it stands in.
        distill: flags of run_distill.py; None: it distils nothing.
        student_of: the method whose distilled student `{student}` is.
        classifier: flags of run_classifier.py.
        sizes: numbers of labels it is trained on; empty: all that a task has.
        tasks: names of the tasks it is trained on; empty: all.
    """

    name: str
    tables: tuple[int, ...]
    distill: tuple[str, ...] | None
    student_of: str
    classifier: Flags
    sizes: tuple[int, ...] = ()
    tasks: tuple[str, ...] = ()

    def applies_to(self, task: str, size: int) -> bool:
        """Whether this task and size are asked of the method."""
        return (not self.tasks or task in self.tasks) and (not self.sizes or size in self.sizes)


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A whole comparison.

    Attributes:
        path: of the file.
        seeds: of the classifiers.
        distillation_seeds: of the distilled encoders; the n-th seed takes the n-th of them, round and round.
        records: of the corpus, `{records}`.
        heldout: held-out records, `{heldout}`, or "".
        teacher_dir: of the pretrained teacher, `{teacher}`.
        distill: flags of every distillation.
        baselines: which of `BASELINES` stand in Table 2.
        compare_with: the method or baseline that the others are tested against.
        tasks: in the order of the tables.
        methods: in the order of the tables, the fine-tuned teacher first.
    """

    path: str
    seeds: tuple[int, ...]
    distillation_seeds: tuple[int, ...]
    records: str
    heldout: str
    teacher_dir: str
    distill: tuple[str, ...]
    baselines: tuple[str, ...]
    compare_with: str
    tasks: tuple[Task, ...]
    methods: tuple[Method, ...]

    def distillation_seed(self, seed: int) -> int:
        """The seed of the encoder that `seed`'s classifiers start from."""
        return self.distillation_seeds[self.seeds.index(seed) % len(self.distillation_seeds)]

    def method(self, name: str) -> Method:
        """The method of that name."""
        return next(method for method in self.methods if method.name == name)


def read_experiment(path: str) -> Experiment:
    """Reads a TOML file (docs/experiments.md describes it).

    Raises:
        InputError: it is no TOML, something is missing, unknown, of the wrong type, or names what isn't there.
    """
    try:
        with open(path, "rb") as file:
            values = tomllib.load(file)
    except OSError as error:
        raise InputError(f"--experiment={path}: can't be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"--experiment={path}: not TOML ({error})") from None
    top = _Table(path, values)
    seeds = top.integers("seeds", [1, 2, 3])
    corpus, teacher = _Table(f"{path}, [corpus]", top.table("corpus")), _Table(f"{path}, [teacher]", top.table(TEACHER))
    distillation = _Table(f"{path}, [distillation]", top.table("distillation"))
    teacher_method = Method(
        TEACHER, TABLES, None, "", teacher.flags("classifier_flags"), teacher.integers("sizes", []), ()
    )
    experiment = Experiment(
        path=path,
        seeds=seeds,
        distillation_seeds=top.integers("distillation_seeds", list(seeds[:1])),
        baselines=top.names("baselines", list(BASELINES), BASELINES),
        compare_with=top.text("compare_with", COMPARE_WITH),
        records=corpus.text("records", ""),
        heldout=corpus.text("heldout", ""),
        teacher_dir=teacher.text("dir"),
        distill=distillation.words("flags") or (),
        tasks=tuple(_task(path, value) for value in top.tables("tasks")),
        methods=(teacher_method, *(_method(path, value) for value in top.tables("methods"))),
    )
    for table in (top, corpus, teacher, distillation):
        table.refuse_the_rest()
    _check(experiment)
    return experiment


def _task(path: str, values: dict[str, Any]) -> Task:
    table = _Table(f"{path}, [[tasks]] {values.get('name', '')}".rstrip(), values)
    task = Task(
        name=table.name(),
        data_dir=table.text("data_dir"),
        num_folds=table.integer("num_folds", 0),
        sizes=table.integers("num_train", [0]),
        unlabelled=table.text("unlabelled", ""),
        classifier=table.flags("classifier_flags", of_tasks=False),
    )
    if task.num_folds < 0 or task.num_folds == 1:
        raise InputError(f"{table.where}: num_folds = {task.num_folds}: 0 (report dev), or 2 and more")
    if not os.path.isdir(task.data_dir):
        raise InputError(f"{table.where}: data_dir = {task.data_dir}: no such folder")
    table.refuse_the_rest()
    return task


def _method(path: str, values: dict[str, Any]) -> Method:
    table = _Table(f"{path}, [[methods]] {values.get('name', '')}".rstrip(), values)
    name = table.name()
    tables = table.anything("table", 2)
    method = Method(
        name=name,
        tables=tuple(tables if isinstance(tables, list) else [tables]),
        distill=table.words("distill_flags"),
        student_of=table.text("student_of", name),
        classifier=table.flags("classifier_flags"),
        sizes=table.integers("sizes", []),
        tasks=table.names("tasks", []),
    )
    if not set(method.tables) <= set(TABLES):
        raise InputError(f"{table.where}: table = {tables}: 2, 3, or [2, 3]")
    table.refuse_the_rest()
    return method


def _check(experiment: Experiment) -> None:
    """Refuses names that occur twice or refer to nothing."""
    names = [method.name for method in experiment.methods] + [BASELINE, *BASELINES]
    tasks = [task.name for task in experiment.tasks]
    for kind, given in (("method", names), ("task", tasks)):
        twice = next((name for name in given if given.count(name) > 1), None)
        if twice:
            raise InputError(f"{experiment.path}: two {kind}s are called {twice!r}: give one of them another name")
    # The default is no claim that there is such a row: without it nothing is tested.
    comparable = [COMPARE_WITH, *(method.name for method in experiment.methods), *experiment.baselines]
    if experiment.compare_with not in comparable:
        raise InputError(
            f"{experiment.path}: compare_with = {experiment.compare_with!r}: no method or baseline is called so; "
            f"give one of {', '.join(dict.fromkeys(comparable))}"
        )
    if not experiment.seeds or not tasks:
        raise InputError(f"{experiment.path}: seeds and [[tasks]] must each name one at least")
    if not experiment.distillation_seeds:
        raise InputError(f"{experiment.path}: distillation_seeds is empty: name one at least")
    sizes = {size for task in experiment.tasks for size in task.sizes}
    for method in experiment.methods:
        for known, given, what in (
            (tasks, (*method.tasks, *method.classifier.by_task), "task"),
            (sizes, (*method.sizes, *method.classifier.by_size), "num_train of any task"),
        ):
            unknown = sorted(set(given) - set(known))
            if unknown:
                raise InputError(f"{experiment.path}, method {method.name}: {unknown[0]!r} is no {what}")


class _Table:
    """One table of the file; what isn't asked for is refused."""

    def __init__(self, where: str, values: dict[str, Any]):
        self.where = where
        self._values = dict(values)
        self._known: set[str] = set()

    def _take(self, key: str, kind: type, default: Any, expected: str) -> Any:
        self._known.add(key)
        value = self._values.get(key, default)
        if value is None:
            raise InputError(f"{self.where}: {key} is missing: {expected}")
        if not isinstance(value, kind) or isinstance(value, bool):
            raise InputError(f"{self.where}: {key} = {value!r}: expected {expected}")
        return value

    def text(self, key: str, default: str | None = None) -> str:
        return self._take(key, str, default, "a text in quotation marks")

    def anything(self, key: str, default: Any) -> Any:
        self._known.add(key)
        return self._values.get(key, default)

    def integer(self, key: str, default: int) -> int:
        return self._take(key, int, default, "a whole number")

    def integers(self, key: str, default: list[int]) -> tuple[int, ...]:
        found = self._take(key, list, default, "a list of whole numbers")
        if any(not isinstance(value, int) or value < 0 for value in found) or len(set(found)) < len(found):
            raise InputError(f"{self.where}: {key} = {found!r}: expected a list of different whole numbers from 0")
        return tuple(found)

    def names(self, key: str, default: list[str], choices: tuple[str, ...] = ()) -> tuple[str, ...]:
        found = self._take(key, list, default, "a list of names")
        if any(not isinstance(value, str) or (choices and value not in choices) for value in found):
            raise InputError(f"{self.where}: {key} = {found!r}: expected a list of {', '.join(choices) or 'names'}")
        return tuple(found)

    def name(self) -> str:
        name = self.text("name")
        if not _NAME.fullmatch(name):
            raise InputError(
                f"{self.where}: name = {name!r}: letters, digits and _.+- only, for folders are named after it"
            )
        return name

    def words(self, key: str) -> tuple[str, ...] | None:
        """Flags as one text, or as a list of texts of one flag each; None if there are none."""
        self._known.add(key)
        return _words(self.where, key, self._values[key]) if key in self._values else None

    def flags(self, key: str, of_tasks: bool = True) -> Flags:
        """Flags, and beside them those of some tasks (`task_flags`) and of some sizes (`size_flags`)."""
        by_task = self._take("task_flags", dict, {}, "a table of flags by name of a task") if of_tasks else {}
        by_size = self._take("size_flags", dict, {}, "a table of flags by number of labels")
        if not all(size.isdigit() for size in by_size):
            raise InputError(f"{self.where}: size_flags: expected numbers of labels, found {', '.join(by_size)}")
        return Flags(
            self.words(key) or (),
            {task: _words(self.where, f"task_flags.{task}", value) for task, value in by_task.items()},
            {int(size): _words(self.where, f"size_flags.{size}", value) for size, value in by_size.items()},
        )

    def table(self, key: str) -> dict[str, Any]:
        return self._take(key, dict, {}, f"a section [{key}]")

    def tables(self, key: str) -> list[dict[str, Any]]:
        found = self._take(key, list, [], f"sections [[{key}]]")
        if not all(isinstance(value, dict) for value in found):
            raise InputError(f"{self.where}: {key}: expected sections [[{key}]]")
        return found

    def refuse_the_rest(self) -> None:
        unknown = sorted(self._values.keys() - self._known)
        if unknown:
            raise InputError(f"{self.where}: unknown key {unknown[0]!r}; known are {', '.join(sorted(self._known))}")


def _words(where: str, key: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
        return tuple(value)
    if not isinstance(value, str):
        raise InputError(f"{where}: {key} = {value!r}: expected flags in quotation marks")
    try:
        return tuple(shlex.split(value))
    except ValueError as error:
        raise InputError(f"{where}: {key} = {value!r}: {error}") from None
