"""Variants of labelled files, from flags to bytes, with a tiny teacher of random weights."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import pipeline
import pytest
import tiny

from chemkd_tf.config import AugmentationConfig
from chemkd_tf.data.labelled import read_labelled
from chemkd_tf.data.unlabelled import read_articles
from chemkd_tf.errors import InputError
from chemkd_tf.models.checkpoints import save_pretrained
from chemkd_tf.models.importing.load import load_encoder
from chemkd_tf.stages import augment as stage
from chemkd_tf.stages.augment import augment
from chemkd_tf.text.vocabulary import save_vocabulary, vocabulary_of

TEXTS = [
    ("加热到15℃以下的浓硫酸，设备要检修。", "安全"),
    ("UN1230溶液不得加入反应釜！请检查温度，然后搅拌。", "安全"),
    ("监测废水；方法用于化工工业。", "环保"),
    ("温度和压力", "设备"),
    ("H2SO4 98%", "设备"),
    ("工作人员负责检查设备，应用制备方法。" * 4, "设备"),
]
CHARACTERS = sorted(
    set("".join(text for text, _ in TEXTS) + "开发设计研究管理生产产品物质气体水力动力进行部分部门工具") - set(" ")
)
KEPT = ("15℃", "UN1230", "硫酸", "H2SO4 98%", "不得")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    folder = tmp_path_factory.mktemp("augment") / "teacher"
    folder.mkdir()
    vocabulary = vocabulary_of([c for c in CHARACTERS if not c.isascii() and c not in "℃！；，。"] + ["。", "，"])
    file = str(folder.parent / "vocab.txt")
    save_vocabulary(vocabulary, file)
    architecture = tiny.teacher_architecture(
        vocabulary_size=vocabulary.size, hidden_dim=16, num_layers=1, intermediate_dim=16, max_sequence_length=32
    )
    save_pretrained(str(folder), architecture, True, tiny.masked_lm(architecture, seed=2), file)
    return str(folder)


@pytest.fixture
def labelled(tmp_path):
    return pipeline.write_tsv(tmp_path / "train.tsv", TEXTS)


def config(labelled, teacher, **changes):
    folder = os.path.dirname(labelled)
    values = dict(
        input_file=labelled, teacher_dir=teacher, output_file=f"{folder}/out.tsv", num_variants=6, num_candidates=5,
        max_seq_length=24, batch_size=8, beam_width=3, delete_prob=0.1, swap_prob=0.1,
    )  # fmt: skip
    return AugmentationConfig(**{**values, **changes})


def content(path) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def test_originals_come_first_and_variants_keep_label_numbers_formulae_and_what_is_not_read(
    labelled, teacher, tmp_path
):
    made = config(labelled, teacher, output_unlabelled=str(tmp_path / "texts.txt"))
    summary = augment(made)
    split = read_labelled(made.output_file)
    rows = list(zip(split.texts, split.labels, strict=True))
    assert rows[: len(TEXTS)] == TEXTS
    variants = rows[len(TEXTS) :]
    assert len(variants) == summary.num_variants > 4 * 5
    assert len(set(split.texts)) == len(split.texts)
    assert not os.path.exists(made.output_file + ".work")
    # H2SO4 98% has no word that may change.
    assert (summary.num_texts, summary.num_without) == (6, 1)
    for text, label in variants:
        sources = [source for source, _ in TEXTS if all((kept in source) == (kept in text) for kept in KEPT)]
        assert label in [dict(TEXTS)[source] for source in sources]
    # 24 tokens with [CLS] and [SEP]: the 23rd character and what follows stay.
    long = TEXTS[-1][0]
    assert sum(text.endswith(long[22:]) for text, _ in variants) == 6
    assert list(read_articles(str(tmp_path / "texts.txt"))) == split.texts
    assert 0 < summary.replaced < summary.num_changeable < summary.num_words
    assert summary.swapped > 0 and summary.deleted > 0
    assert "fewer than asked for" in str(summary)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes_whatever_the_batch_size_and_the_name(labelled, teacher, tmp_path):
    augment(config(labelled, teacher))
    first = content(tmp_path / "out.tsv")
    for size in (1, 3):
        augment(config(labelled, teacher, output_file=str(tmp_path / f"{size}.tsv"), batch_size=size))
        assert content(tmp_path / f"{size}.tsv") == first
    augment(config(labelled, teacher, random_seed=1))
    assert content(tmp_path / "out.tsv") != first


@pytest.mark.slow
def test_variants_alone_in_another_format(labelled, teacher, tmp_path):
    augment(config(labelled, teacher))
    both = read_labelled(str(tmp_path / "out.tsv"))
    augment(config(labelled, teacher, keep_originals=False, output_file=str(tmp_path / "out.jsonl")))
    alone = read_labelled(str(tmp_path / "out.jsonl"))
    assert (alone.texts, alone.labels) == (both.texts[len(TEXTS) :], both.labels[len(TEXTS) :])


def test_protected_words_stay_in_every_variant(labelled, teacher, tmp_path):
    (tmp_path / "words.txt").write_text("检修\n温度和\n", encoding="utf-8")
    augment(config(labelled, teacher, protected_words=str(tmp_path / "words.txt")))
    split = read_labelled(str(tmp_path / "out.tsv"))
    for text in split.texts:
        assert ("15℃" in text) == ("检修" in text)
    assert "温度和压力" in split.texts
    assert all("温度和" in text for text in split.texts if text.endswith("压力") and "；" not in text)


def test_without_replacement_no_teacher_is_needed(labelled, teacher, tmp_path):
    made = config(labelled, "", replace_prob=0.0, swap_prob=0.4)
    summary = augment(made)
    assert summary.replaced == 0 and summary.swapped > 0
    # No model reads them, so whole texts vary: behind --max_seq_length, too.
    long = TEXTS[-1][0]
    assert any(text.startswith("工作人员") and text[22:] != long[22:] for text in read_labelled(made.output_file).texts)


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [0, 2])
def test_a_run_that_died_goes_on_and_writes_the_same_bytes(labelled, teacher, tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(stage, "TEXTS_AT_ONCE", 2)
    whole = config(labelled, teacher, output_file=str(tmp_path / "whole.tsv"))
    augment(whole)
    made = config(labelled, teacher)
    asked = []

    class Death(BaseException):
        pass

    def dies(path, value):
        if path.endswith(f"{chunk:06d}.json"):
            raise Death
        asked.append(path)
        write(path, value)

    write = stage.write_json
    monkeypatch.setattr(stage, "write_json", dies)
    with pytest.raises(Death):
        augment(made)
    assert not os.path.exists(made.output_file)
    with pytest.raises(InputError, match="began with another --num_variants"):
        augment(config(labelled, teacher, num_variants=7))
    with pytest.raises(InputError, match="began with another teacher"):
        augment(dataclasses.replace(made, teacher_dir=other_teacher(teacher, tmp_path)))
    monkeypatch.setattr(stage, "write_json", lambda path, value: (asked.append(path), write(path, value)))
    augment(made)
    names = [os.path.basename(path) for path in asked]
    assert sorted(names) == ["000000.json", "000001.json", "000002.json", "plan.json"]  # nothing was made twice
    assert content(made.output_file) == content(whole.output_file)
    assert not os.path.exists(made.output_file + ".work")


def other_teacher(teacher, tmp_path) -> str:
    """One whose weights alone differ."""
    folder = tmp_path / "other"
    folder.mkdir()
    loaded = load_encoder(teacher, "teacher_dir")
    tiny.randomise(loaded.masked_lm, seed=9)
    save_pretrained(str(folder), loaded.architecture, True, loaded.masked_lm, loaded.vocabulary_file)
    return str(folder)


@pytest.mark.slow
def test_killed_with_sigkill_the_same_command_goes_on(tmp_path):
    rows = [(f"{text}第{number}批。" * 6, label) for number in range(150) for text, label in TEXTS[:4]]
    labelled = pipeline.write_tsv(tmp_path / "train.tsv", rows)
    made = config(labelled, "", replace_prob=0.0, num_variants=20)
    whole = config(labelled, "", replace_prob=0.0, num_variants=20, output_file=str(tmp_path / "whole.tsv"))
    augment(whole)
    script = [sys.executable, str(pipeline.ROOT / "data_prep" / "augment_labelled.py"), *pipeline.flags_of(made)]
    environment = {**os.environ, "PYTHONPATH": str(pipeline.ROOT)}
    killed = subprocess.Popen(script, env=environment, stderr=subprocess.DEVNULL)
    third = made.output_file + ".work/000002.json"
    deadline = time.monotonic() + 120
    while not os.path.exists(third) and killed.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert os.path.exists(third) and not os.path.exists(made.output_file)
    done = subprocess.run(script, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("600 texts, 12,000 variants")
    assert content(made.output_file) == content(whole.output_file)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(input_file=""), "--input_file is empty"),
        (dict(output_file=""), "--output_file is empty"),
        (dict(teacher_dir=""), "--teacher_dir is empty"),
        (dict(delete_prob=1.0), "--delete_prob=1.0: from 0 to below 1"),
        (dict(replace_prob=1.5), "--replace_prob=1.5: from 0 to 1"),
        (dict(replace_prob=0.0, delete_prob=0.0, swap_prob=0.0), "at least one above 0"),
        (dict(num_variants=0), "--num_variants=0: at least 1"),
        (dict(max_seq_length=2), "--max_seq_length=2: at least 3"),
        (dict(output_file="./train.tsv", input_file="train.tsv"), "--output_file=./train.tsv: is --input_file as well"),
        (dict(output_unlabelled="out.tsv", output_file="out.tsv"), "--output_unlabelled=out.tsv: is --output_file"),
    ],
)
def test_bad_flags_are_refused_in_one_line(changes, message):
    with pytest.raises(InputError, match=message) as refused:
        AugmentationConfig(**{**dict(input_file="a.tsv", output_file="b.tsv", teacher_dir="teacher"), **changes})
    assert "\n" not in str(refused.value)


def test_bad_input_is_refused_in_one_line_and_leaves_nothing(labelled, teacher, tmp_path):
    def refused(message, **changes):
        before = sorted(os.listdir(tmp_path))
        with pytest.raises(InputError, match=message) as error:
            augment(config(labelled, teacher, **changes))
        assert "\n" not in str(error.value)
        assert sorted(os.listdir(tmp_path)) == before

    def file(name, text):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return str(tmp_path / name)

    refused("nowhere.tsv: can't be read", input_file=str(tmp_path / "nowhere.tsv"))
    refused("empty.tsv, line 1: no label", input_file=file("empty.tsv", "加热\t \n"))
    refused("expected a name that ends in", output_file=str(tmp_path / "out.txt"))
    refused("no checkpoint there", teacher_dir=str(tmp_path / "nowhere"))
    refused("--max_seq_length=64: .* takes at most 32 tokens", max_seq_length=64)
    refused("--user_dictionary=", user_dictionary=str(tmp_path / "nowhere.txt"))
    refused("--protected_words=", protected_words=str(tmp_path / "nowhere.txt"))
    refused("no entry for 100% of the texts' Chinese", input_file=file("far.tsv", "鸡鸭鹅\t禽\n"))
    with pytest.raises(InputError, match="numbers.tsv: no variant of any text"):
        augment(config(labelled, teacher, input_file=file("numbers.tsv", "H2O 15\t水\n")))


def test_a_checkpoint_without_a_masked_lm_head_is_refused(labelled, tmp_path):
    folder = tmp_path / "bert"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}), encoding="utf-8")
    with pytest.raises(InputError) as error:
        augment(config(labelled, str(folder)))
    assert "\n" not in str(error.value)
