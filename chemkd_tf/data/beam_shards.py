r"""A corpus to shuffled record files on a cluster: an Apache Beam pipeline whose elements are the blocks.

Each element is processed by the very functions that the processes of one machine call (`slices`), so the shards are the
same bytes, whoever runs the pipeline. Beam moves the slices and repeats what failed.

    blocks ──slices──▶ (shard, slice) ──group by shard──▶ shard ──shard_content──▶ P-00003-of-000NN ──▶ P.manifest.json
                 └───▶ counts ──add up──▶ no sample: refused; else an earlier manifest is set aside ────▲

Corpus and records lie where every machine reaches them: gs://, s3://, hdfs://, or a disk that all of them mount.
Vocabulary and user dictionary are read on the machine that starts the pipeline, which also reads the corpus once, to
cut it into blocks. The machines of the cluster need Python 3.11, this package, and numpy and jieba in the versions of
the machine that starts the pipeline (others are refused: they could make other bytes); best in a container image:

    FROM apache/beam_python3.11_sdk:2.77.0
    COPY . /chemkd_tf
    RUN pip install numpy==2.4.6 jieba==0.42.1 'google-crc32c<2' && pip install --no-deps /chemkd_tf

Without one, --setup_file=./setup.py --requirements_file=versions.txt installs the package with everything that it
requires, TensorFlow among it, whenever a machine starts; versions.txt is what `pip freeze | grep -E '^(numpy|jieba)='`
prints. What stands behind -- is the runner's own. Google Dataflow (pip install 'apache-beam[gcp]==2.77.0'):

    python data_prep/create_pretraining_data.py --input_file='gs://bucket/corpus/*.txt' --vocab_file=vocab.txt \
        --output_file=gs://bucket/records/P --runner=DataflowRunner -- --project=name --region=europe-west1 \
        --temp_location=gs://bucket/temp --sdk_container_image=registry/image

Flink and Spark (Java on the machine that starts the pipeline, Docker on theirs; for hdfs:// on all of them
pip install 'apache-beam[hadoop]==2.77.0', for s3:// [aws]):

    python data_prep/create_pretraining_data.py --input_file='hdfs://corpus/*.txt' --vocab_file=vocab.txt \
        --output_file=hdfs://records/P --runner=FlinkRunner -- --flink_master=host:8081 --parallelism=64 \
        --environment_type=DOCKER --environment_config=registry/image \
        --hdfs_host=namenode --hdfs_port=9870 --hdfs_user=name
    python ... --runner=SparkRunner -- --spark_master_url=spark://host:7077 \
        --environment_type=DOCKER --environment_config=registry/image

This machine, to try it: --runner=DirectRunner -- --direct_running_mode=multi_processing --direct_num_workers=2
"""

import contextlib
import dataclasses
import functools
import hashlib
import importlib.metadata
import io
import json
import logging
import os
import re
import struct
import sys
import tempfile
import uuid
from collections.abc import Iterable, Iterator

from chemkd_tf.config import PretrainingDataConfig
from chemkd_tf.config.options import require
from chemkd_tf.data.beam_files import (
    absolute,
    beams_complaints,
    beside,
    create,
    find_inputs,
    is_local,
    one_line,
    open_input,
    read_json,
    remove_folder,
    replace,
)
from chemkd_tf.data.blocks import BLOCK_BYTES, Block, read_block
from chemkd_tf.data.manifest import Manifest, RecordFormat, manifest_path, read_manifest, shard_path
from chemkd_tf.data.shards import VERSIONS_OF, identity, make_plan, manifest_content
from chemkd_tf.data.slices import BlockCounts, Plan, SliceMaker
from chemkd_tf.errors import InputError

# `beam_files` comes first: where Beam is not there, it says how to get it.
# isort: split
import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions, TypeOptions
from apache_beam.runners.runner import PipelineState, create_runner

EMPTY_SLICE = struct.pack("<I", 0)
_COUNTS = "counts"
# How an exception of a worker arrives: as a traceback in a text, to which Beam adds the step.
_INPUT_ERROR = re.compile(r"chemkd_tf\.errors\.InputError: (?P<message>.*)")
_NO_MODULE = re.compile(r"No module named '(?P<name>[\w.]+)'")
_WHILE_RUNNING = re.compile(r" \[while running '.*")


def write_on_beam(
    config: PretrainingDataConfig, pipeline_arguments: Iterable[str] = (), block_bytes: int = BLOCK_BYTES
) -> Manifest:
    """Writes what `shards.write_pretraining_data` writes, with an Apache Beam pipeline, and waits for its end.

    If the very records are there already, nothing is done. Others with the same prefix are replaced when the whole
    corpus has been tokenised. A pipeline that fails leaves P.beam behind, and perhaps some of the shards, but no
    manifest; the next one with the same prefix begins anew and tidies up. Two at a time must not write to one prefix.

    Args:
        config: the flags; `runner` names the runner, `num_workers` is without effect (the runner has its own).
        pipeline_arguments: the runner's own options, as in ["--project=name"].
        block_bytes: size of a block of whole articles; the bytes depend on it.

    Returns:
        What was written; its `shards` are URLs if `output_file` is one.

    Raises:
        InputError: as `shards.write_pretraining_data` does for corpus, vocabulary and dictionary; if the runner is
            unknown or its options are; or if a worker can't read the corpus, or has other libraries.
    """
    pipeline = _pipeline(config.runner, [*pipeline_arguments])  # First: reading the corpus may take long.
    config = dataclasses.replace(config, output_file=absolute(config.output_file))
    require(
        not re.search(r"[*?[]", config.output_file),
        f"--output_file={config.output_file}: Beam takes *, ? and [ for a pattern: choose another prefix",
    )
    with beams_complaints("--output_file"):
        FileSystems.get_filesystem(config.output_file)
    plan = make_plan(config, block_bytes, paths=find_inputs(config.input_file), open_file=open_input)
    if not _is_complete(plan):
        print(
            f"{config.runner}: {len(plan.blocks):,} blocks to {plan.num_shards:,} files; the pipeline runs",
            file=sys.stderr,
            flush=True,
        )
        _build(pipeline, plan)
        _run(pipeline, config.runner)
    return _read_manifest(config.output_file)


def _pipeline(runner: str, arguments: list[str]) -> beam.Pipeline:
    """An empty one, whose options were checked as far as Beam can."""
    flag = f"--runner={runner}"
    usage = io.StringIO()
    try:
        with contextlib.redirect_stderr(usage):
            options = PipelineOptions(arguments, runner=runner)
            options.get_all_options()
    except SystemExit:  # argparse prints hundreds of options and, last, what is wrong.
        raise InputError(f"{flag}: behind --: {one_line(usage.getvalue().rpartition('error: ')[2])}") from None
    # Without this, DirectRunner first downloads another program (Prism), which ignores --direct_running_mode. The
    # pipeline has no trigger, so nothing else depends on it.
    options.view_as(TypeOptions).allow_unsafe_triggers = True
    FileSystems.set_options(options)
    with beams_complaints(flag):
        return beam.Pipeline(create_runner(runner), options)


def _run(pipeline: beam.Pipeline, runner: str) -> None:
    try:
        with _quiet(runner):
            state = pipeline.run().wait_until_finish()
    except ImportError as error:  # The runner needs more libraries than Beam does.
        raise InputError(f"--runner={runner}: {one_line(error)}") from None
    except Exception as error:
        message = _workers_complaint(error)
        if message is None:
            raise
        raise InputError(message) from None
    if state != PipelineState.DONE:
        raise InputError(f"--runner={runner}: the pipeline ended as {state}, so the records are not complete")


def _build(pipeline: beam.Pipeline, plan: Plan) -> None:
    config = plan.config
    dictionary = None
    if config.user_dictionary:
        with open(config.user_dictionary, "rb") as file:
            dictionary = file.read()
    job = _Job(dataclasses.replace(plan, blocks=()), dictionary, _versions())
    slices = (
        pipeline
        # Tuples: a cluster takes only so many megabytes of elements.
        | "blocks" >> beam.Create([dataclasses.astuple(block) for block in plan.blocks])
        | "slices"
        >> beam.ParDo(_MakeSlices(job))
        .with_output_types(tuple[int, tuple[int, bytes]])
        .with_outputs(_COUNTS, main="slices")
    )
    counts = (
        slices[_COUNTS]
        | "add up" >> beam.CombineGlobally(_total)
        | "begin" >> beam.ParDo(_Begin(config.input_file, config.output_file))
    )
    shards = (
        slices.slices
        | "gather" >> beam.GroupByKey()
        | "shards" >> beam.ParDo(_WriteShard(job), beam.pvalue.AsSingleton(counts))
    )
    content = manifest_content(plan, BlockCounts(), [])
    _ = counts | "manifest" >> beam.ParDo(_End(config.output_file, content), beam.pvalue.AsList(shards))


@dataclasses.dataclass(frozen=True)
class _Job:
    """What goes to every worker.

    Args:
        plan: without the blocks, which are the pipeline's elements.
        dictionary: content of --user_dictionary, which the worker's machine does not have.
        versions: of the libraries on which the bytes depend.
    """

    plan: Plan
    dictionary: bytes | None
    versions: dict[str, str]

    def slice_maker(self) -> SliceMaker:
        """The two functions that do the work.

        Raises:
            InputError: if this machine would make other bytes.
        """
        if _versions() != self.versions:
            raise InputError(
                f"a worker has {_versions()}, but the pipeline was started with {self.versions}: give the workers the "
                "same versions, or their records would differ"
            )
        if self.dictionary is None:
            return SliceMaker(self.plan)
        with tempfile.NamedTemporaryFile() as file:
            file.write(self.dictionary)
            file.flush()
            config = dataclasses.replace(self.plan.config, user_dictionary=file.name)
            slice_maker = SliceMaker(dataclasses.replace(self.plan, config=config))
            slice_maker.tokenizer  # noqa: B018  Reads the file while it is there.
            return slice_maker


class _Worker(beam.DoFn):
    """Makes its `SliceMaker` where it runs."""

    def __init__(self, job: _Job):
        self._job = job

    def setup(self):
        self._slice_maker = self._job.slice_maker()


class _MakeSlices(_Worker):
    """A block to (shard, (block, slice)), and its counts."""

    def process(self, element):
        block = Block(*element)
        try:
            text = read_block(block, open_input)
        except OSError as error:
            raise InputError(
                f"{block.path}: a worker can't read it ({one_line(error)}): --input_file must lie where every worker "
                "reaches it: gs://, s3://, hdfs:// or a disk that all of them mount"
            ) from None
        slices, counts = self._slice_maker.slices(text, block.index)
        yield beam.pvalue.TaggedOutput(_COUNTS, counts)
        for shard, content in enumerate(slices):
            # The first block writes to every shard, so that a shard without any sample is made, too.
            if content != EMPTY_SLICE or block.index == 0:
                yield shard, (block.index, content)


class _Begin(beam.DoFn):
    """Between the steps: from here on shards are replaced, and what the earlier manifest says is no longer true."""

    def __init__(self, input_file: str, prefix: str):
        self._input_file, self._prefix = input_file, prefix

    def process(self, counts):
        if not counts.samples:
            raise InputError(
                f"--input_file={self._input_file}: not one of its {counts.dropped_sentences:,} lines has a "
                "token: nothing is left of them in BERT's cleaning"
            )
        if FileSystems.exists(manifest_path(self._prefix)):
            with contextlib.suppress(OSError):  # The folder is there.
                FileSystems.mkdirs(_folder(self._prefix))
            replace(manifest_path(self._prefix), _earlier_path(self._prefix))
        yield counts


class _WriteShard(_Worker):
    """The slices of one shard to its file; (shard, what the manifest says of it)."""

    def process(self, element, counts):
        del counts  # Only waited for.
        shard, slices = element
        plan = self._job.plan
        digest = hashlib.sha256()
        samples = size = 0
        partial = _partial_path(plan.config.output_file, f"{shard:05d}")
        with create(partial) as file:
            for count, content in self._slice_maker.shard_content(shard, [one for _, one in sorted(slices)]):
                file.write(content)
                digest.update(content)
                samples += count
                size += len(content)
        replace(partial, shard_path(plan.config.output_file, shard, plan.num_shards))
        yield shard, {"samples": samples, "bytes": size, "sha256": digest.hexdigest()}


class _End(beam.DoFn):
    """Writes the manifest and removes what an earlier run left behind."""

    def __init__(self, prefix: str, content: dict):
        self._prefix, self._content = prefix, content

    def process(self, counts, shards):
        num_shards = self._content["num_shards"]
        shards = dict(shards)
        assert sorted(shards) == list(range(num_shards)), "shards were lost"
        assert sum(shard["samples"] for shard in shards.values()) == counts.samples, "samples were lost"
        paths = [shard_path(self._prefix, shard, num_shards) for shard in range(num_shards)]
        for path in paths:
            if is_local(path) and not os.path.exists(path):
                raise InputError(
                    f"{path}: only the worker that wrote it has it: --output_file must lie where every worker reaches "
                    "it: gs://, s3://, hdfs:// or a disk that all of them mount"
                )
        content = {
            **self._content,
            **dataclasses.asdict(counts),
            "shards": [{"file": os.path.basename(path), **shards[index]} for index, path in enumerate(paths)],
        }
        partial = _partial_path(self._prefix, "manifest")
        with create(partial) as file:
            file.write((json.dumps(content, ensure_ascii=False, indent=2) + "\n").encode("utf-8"))
        replace(partial, manifest_path(self._prefix))
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # Perhaps there is none.
            for shard in read_json(_earlier_path(self._prefix))["shards"]:
                path = beside(self._prefix, shard["file"])
                if path not in paths and FileSystems.exists(path):
                    FileSystems.delete([path])
        remove_folder(_folder(self._prefix))
        yield from ()


def _total(counts: Iterable[BlockCounts]) -> BlockCounts:
    return functools.reduce(BlockCounts.__add__, counts, BlockCounts())


def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in VERSIONS_OF}


def _is_complete(plan: Plan) -> bool:
    """Whether the records that `plan` would make are there."""
    prefix = plan.config.output_file
    try:
        content = read_json(manifest_path(prefix))
        if any(content[name] != value for name, value in identity(plan).items()):
            return False
        for shard in content["shards"]:
            (found,) = FileSystems.match([beside(prefix, shard["file"])])[0].metadata_list
            if found.size_in_bytes != shard["bytes"]:
                return False
    except (OSError, ValueError, KeyError, TypeError):
        return False  # Whatever is wrong with them, they will be replaced.
    return True


def _read_manifest(prefix: str) -> Manifest:
    """As `read_manifest`, which reads from this machine's disks only."""
    if is_local(prefix):
        return read_manifest(prefix)
    content = read_json(manifest_path(prefix))
    values = {field.name: content[field.name] for field in dataclasses.fields(RecordFormat)}
    return Manifest(
        tuple(beside(prefix, shard["file"]) for shard in content["shards"]),
        tuple(shard["samples"] for shard in content["shards"]),
        RecordFormat(**values | {"special_ids": tuple(sorted(content["special_ids"].items()))}),
    )


def _folder(prefix: str) -> str:
    return prefix + ".beam"


def _earlier_path(prefix: str) -> str:
    return f"{_folder(prefix)}/earlier.json"


def _partial_path(prefix: str, name: str) -> str:
    """Another one for each attempt: runners repeat what failed, or what only seems to have failed."""
    return f"{_folder(prefix)}/{name}.{uuid.uuid4().hex}"


def _workers_complaint(error: Exception) -> str | None:
    """What a worker found wrong with its input or machine, however the runner wrapped it; None if it is a defect."""
    if isinstance(error, InputError):
        return _WHILE_RUNNING.sub("", str(error))
    if found := _INPUT_ERROR.search(str(error)):
        return _WHILE_RUNNING.sub("", found["message"])
    if found := _NO_MODULE.search(str(error)):
        return (
            f"a worker has no module {found['name']}: give --setup_file=./setup.py behind --, or a container image in "
            "which chemkd_tf is installed"
        )
    return None


@contextlib.contextmanager
def _quiet(runner: str) -> Iterator[None]:
    """Of this machine's runners only warnings; a cluster's say where the job can be watched, and how far it is."""
    logger = logging.getLogger("apache_beam")
    exceptions = logging.getLogger("apache_beam.runners.common")
    level = logger.level
    if runner in StandardOptions.LOCAL_RUNNERS:
        logger.setLevel(logging.WARNING)
    exceptions.addFilter(_is_no_input_error)
    try:
        yield
    finally:
        exceptions.removeFilter(_is_no_input_error)
        logger.setLevel(level)


def _is_no_input_error(record: logging.LogRecord) -> bool:
    """Beam logs what a worker raises with its traceback; bad input takes one line."""
    return not isinstance(record.msg, InputError)
