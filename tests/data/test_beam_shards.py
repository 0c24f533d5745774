"""The pipeline of Apache Beam against a run on one machine. (The runner is one that runs in this process.)"""

import io
import itertools
import json
import os
import subprocess
import sys

import apache_beam
import pytest
from apache_beam.io.filesystem import BeamIOError, FileMetadata, FileSystem
from data.record_oracles import config_for, random_corpus, write_corpus, write_vocabulary

from chemkd_tf.data.beam_shards import write_on_beam
from chemkd_tf.data.manifest import read_manifest
from chemkd_tf.data.shards import write_pretraining_data
from chemkd_tf.errors import InputError

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BLOCK_BYTES = 1000  # More than five blocks.


@pytest.fixture
def folder(tmp_path):
    write_vocabulary(tmp_path)
    write_corpus(tmp_path / "corpus.txt", random_corpus(11, 30))
    return tmp_path


def on_beam(folder, *arguments: str, **values):
    values = {"output_file": str(folder / "beam" / "P"), "runner": "DirectRunner"} | values
    return write_on_beam(config_for(folder, **values), arguments, BLOCK_BYTES)


def on_this_machine(folder, **values):
    return write_pretraining_data(config_for(folder, output_file=str(folder / "here" / "P"), **values), BLOCK_BYTES)


def contents(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    "values",
    [
        {"num_shards": 3, "do_whole_word_mask": True, "user_dictionary": "words.txt"},
        {"num_shards": 4, "masking": "dynamic"},
        {"num_shards": 200, "dupe_factor": 1, "sample_mode": "packed", "pad_records": False},
    ],
    ids=["whole words", "dynamic", "shards without a sample"],
)
def test_shards_and_manifest_are_the_same_bytes_as_on_one_machine(folder, monkeypatch, values):
    monkeypatch.chdir(folder)
    (folder / "words.txt").write_text("酸碱\n氢氧 5 n\n", encoding="utf-8")
    expected = on_this_machine(folder, **values)
    made = on_beam(folder, **values)
    assert contents(folder / "beam") == contents(folder / "here")
    assert made.shard_samples == expected.shard_samples and made.format == expected.format
    assert (0 in made.shard_samples) == (values["num_shards"] == 200)
    with open(folder / "beam" / "P.manifest.json", encoding="utf-8") as file:
        assert json.load(file)["num_blocks"] > 5


def test_earlier_records_are_replaced_though_the_runner_repeats_everything(folder):
    on_this_machine(folder, num_shards=2)
    on_beam(folder, num_shards=4, random_seed=1)
    on_beam(folder, "--direct_runner_bundle_repeat=1", num_shards=2)
    assert contents(folder / "beam") == contents(folder / "here")


def test_blocks_may_come_in_any_order(folder, monkeypatch):
    on_this_machine(folder, num_shards=2)
    create = apache_beam.Create
    monkeypatch.setattr("apache_beam.Create", lambda elements: create(elements[::-1]))
    on_beam(folder, num_shards=2)
    assert contents(folder / "beam") == contents(folder / "here")


def test_a_failed_run_leaves_no_manifest_and_the_next_one_tidies_up(folder, monkeypatch):
    on_this_machine(folder, num_shards=2)
    on_beam(folder, num_shards=4)
    before = contents(folder / "beam")
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="on purpose"):
        patch.setattr("chemkd_tf.data.slices.SliceMaker.slices", fail)
        on_beam(folder, num_shards=2)
    assert contents(folder / "beam") == before
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="on purpose"):
        patch.setattr("chemkd_tf.data.slices.SliceMaker.shard_content", fail)
        on_beam(folder, num_shards=2)
    assert not (folder / "beam" / "P.manifest.json").exists()
    on_beam(folder, num_shards=2)
    assert contents(folder / "beam") == contents(folder / "here")


def fail(*_):
    raise RuntimeError("on purpose")


def test_what_is_there_already_is_not_made_again(folder, monkeypatch):
    manifest = on_this_machine(folder)
    monkeypatch.setattr("chemkd_tf.data.beam_shards._build", fail)
    assert on_beam(folder, output_file=str(folder / "here" / "P")) == manifest
    with pytest.raises(RuntimeError, match="on purpose"):
        on_beam(folder, output_file=str(folder / "here" / "P"), random_seed=1)
    with open(manifest.shards[0], "ab") as file:
        file.write(b"more")
    with pytest.raises(RuntimeError, match="on purpose"):
        on_beam(folder, output_file=str(folder / "here" / "P"))


def test_a_corpus_without_any_token_is_refused_and_leaves_no_record(folder, caplog):
    on_beam(folder)
    before = contents(folder / "beam")
    (folder / "corpus.txt").write_text("\u200b\n\u200b\u200b\n", encoding="utf-8")
    for output_file in (folder / "beam" / "P", folder / "other" / "P"):
        with pytest.raises(InputError, match=r"not one of its 2 lines has a token: .* BERT's cleaning$"):
            on_beam(folder, output_file=str(output_file))
    assert contents(folder / "beam") == before and not (folder / "other").exists()
    assert not caplog.records


class ObjectStore(FileSystem):
    """memory://, with the habits of gs:// (no folders) and, where that is stricter, of hdfs:// (never renames over)."""

    files: dict[str, bytes] = {}

    @classmethod
    def scheme(cls):
        return "memory"

    def has_dirs(self):
        return False

    def _list(self, dir_or_prefix):
        return [self.metadata(path) for path in sorted(self.files) if path.startswith(dir_or_prefix)]

    def create(self, path, mime_type="", compression_type=""):
        store = self.files

        class Upload(io.BytesIO):
            def close(self):
                if not self.closed:
                    store[path] = self.getvalue()
                super().close()

        return Upload()

    def open(self, path, mime_type="", compression_type=""):
        if path not in self.files:
            raise RuntimeError(f"404 {path}")  # Google's NotFound is no OSError.
        return io.BytesIO(self.files[path])

    def rename(self, source_file_names, destination_file_names):
        for source, target in zip(source_file_names, destination_file_names, strict=True):
            if target in self.files or source not in self.files:
                raise BeamIOError(f"can't rename {source} to {target}")
            self.files[target] = self.files.pop(source)

    def exists(self, path):
        return path in self.files

    def size(self, path):
        return len(self.files[path])

    def metadata(self, path):
        return FileMetadata(path, self.size(path), 0)

    def delete(self, paths):
        for path in paths:
            found = [name for name in self.files if name == path or (path[-1] == "/" and name.startswith(path))]
            if not found:
                raise BeamIOError(f"no {path}")
            for name in found:
                del self.files[name]

    def mkdirs(self, path):
        raise BeamIOError("no folders")

    join = split = copy = last_updated = checksum = mkdirs


def test_corpus_and_records_may_lie_in_an_object_store(folder, monkeypatch):
    corpus = (folder / "corpus.txt").read_bytes()
    (folder / "more.txt").write_bytes(corpus)
    store = {"memory://in/corpus/1.txt": corpus, "memory://in/corpus/2.txt": corpus, "memory://in/other.txt": b"\n"}
    monkeypatch.setattr(ObjectStore, "files", dict(store))
    urls = {"input_file": "memory://in/corpus/*.txt", "output_file": "memory://out/P"}
    expected = on_this_machine(folder, input_file=f"{folder}/corpus.txt,{folder}/more.txt", num_shards=2)
    on_beam(folder, **urls, num_shards=3)
    on_beam(folder, **urls, num_shards=2, random_seed=1)
    made = on_beam(folder, **urls, num_shards=2)
    written = {f"memory://out/{name}": content for name, content in contents(folder / "here").items()}
    assert ObjectStore.files == store | written
    assert made.shards == ("memory://out/P-00000-of-00002", "memory://out/P-00001-of-00002")
    assert (made.num_samples, made.format.max_seq_length) == (expected.num_samples, 16)
    monkeypatch.setattr("chemkd_tf.data.beam_shards._build", fail)
    assert on_beam(folder, **urls, num_shards=2) == made
    with pytest.raises(InputError, match=r"no file matches 'memory://in/\*.gz'"):
        on_beam(folder, input_file="memory://in/*.gz")


@pytest.mark.parametrize(
    ("values", "arguments", "message"),
    [
        ({"runner": "NoRunner"}, (), "--runner=NoRunner: Unexpected pipeline runner: NoRunner. Valid values are"),
        ({"runner": "no.Runner"}, (), "--runner=no.Runner: No module named 'no'"),
        (
            {},
            ("--direct_running_mode=slow",),
            "--runner=DirectRunner: behind --: argument --direct_running_mode: inval",
        ),
        ({"output_file": "nowhere://P"}, (), "--output_file: Unable to get filesystem"),
        ({"input_file": "nowhere://*.txt"}, (), "--input_file: Unable to get filesystem"),
        ({"input_file": "nowhere.txt"}, (), "--input_file: no file matches 'nowhere.txt'"),
        ({"output_file": "P*"}, (), "P*: Beam takes *, ? and [ for a pattern"),
    ],
)
def test_bad_input_is_named_before_anything_runs(folder, values, arguments, message):
    with pytest.raises(InputError) as error:
        on_beam(folder, *arguments, **values)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_worker_with_other_libraries_is_refused(folder, monkeypatch):
    versions = itertools.chain([{"numpy": "2.1"}], itertools.repeat({"numpy": "2.2"}))
    monkeypatch.setattr("chemkd_tf.data.beam_shards._versions", lambda: next(versions))
    with pytest.raises(InputError, match=r"a worker has {'numpy': '2.2'}, but .* {'numpy': '2.1'}"):
        on_beam(folder)


def test_a_worker_that_does_not_reach_the_corpus_is_refused(folder, monkeypatch):
    def read_block(block, _):
        raise FileNotFoundError(2, "No such file or directory", block.path)

    monkeypatch.setattr("chemkd_tf.data.beam_shards.read_block", read_block)
    with pytest.raises(InputError, match=r"corpus.txt: a worker can't read it \(.*\): --input_file must lie where"):
        on_beam(folder)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ("chemkd_tf.errors.InputError: a.txt: bad [while running 'slices']", "a.txt: bad$"),
        ("ModuleNotFoundError: No module named 'chemkd_tf'", "a worker has no module chemkd_tf: give --setup_file"),
    ],
)
def test_what_a_cluster_reports_as_a_traceback_becomes_one_line(folder, monkeypatch, found, message):
    def run(self):
        raise RuntimeError(f"Pipeline job-1 failed in state FAILED: Traceback:\n  File ...\n{found}\n\n  at Flink")

    monkeypatch.setattr("apache_beam.Pipeline.run", run)
    with pytest.raises(InputError, match=message):
        on_beam(folder)


def run_script(folder, *arguments: str, without_beam: bool = False) -> subprocess.CompletedProcess:
    code = "import runpy, sys; script = sys.argv.pop(1)\n"
    if without_beam:
        code += "sys.modules['apache_beam'] = None\n"  # As if it were not installed.
    return subprocess.run(
        [
            *(sys.executable, "-c", code + "runpy.run_path(script, run_name='__main__')"),
            os.path.join("data_prep", "create_pretraining_data.py"),
            f"--input_file={folder}/corpus.txt",
            f"--vocab_file={folder}/vocab.txt",
            f"--output_file={folder}/script/P",
            *arguments,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_from_the_command_line(folder):
    done = run_script(folder, "--runner=DirectRunner", "--dupe_factor=2", "--", "--direct_running_mode=in_memory")
    assert done.returncode == 0, done.stderr
    assert done.stderr == "DirectRunner: 1 blocks to 1 files; the pipeline runs\n"
    manifest = read_manifest(str(folder / "script" / "P"))
    assert f"{manifest.num_samples} samples of up to 128 tokens in 1 files" in done.stdout


def test_options_of_a_runner_need_one(folder):
    done = run_script(folder, "--", "--direct_running_mode=in_memory")
    assert done.returncode == 2
    assert done.stderr.startswith("error: unexpected argument '--direct_running_mode=in_memory'")


def test_only_a_runner_needs_the_library(folder):
    done = run_script(folder, "--runner=DirectRunner", without_beam=True)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: --runner needs the library Apache Beam: pip install 'chemkd_tf[beam]'")
    assert run_script(folder, without_beam=True).returncode == 0
