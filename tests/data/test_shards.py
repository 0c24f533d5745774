import collections
import dataclasses
import glob
import hashlib
import json
import os

import pytest
import tensorflow as tf
from data.record_oracles import (
    VOCABULARY,
    config_for,
    ids_of,
    random_corpus,
    read_examples,
    unmask,
    write_corpus,
    write_vocabulary,
)

from chemkd_tf.data.manifest import read_manifest
from chemkd_tf.data.shards import write_pretraining_data
from chemkd_tf.errors import InputError

BUDGET = 14


@pytest.fixture
def folder(tmp_path):
    """A vocabulary, a corpus of 30 articles, and sentences that are longer than a sample."""
    write_vocabulary(tmp_path)
    write_corpus(tmp_path / "corpus.txt", random_corpus(11, 30))
    return tmp_path


def fingerprints(prefix: str) -> dict[str, str]:
    result = {}
    for path in sorted(glob.glob(f"{prefix}-*-of-*")):
        with open(path, "rb") as file:
            result[path.removeprefix(prefix)] = hashlib.sha256(file.read()).hexdigest()
    return result


@pytest.mark.parametrize("truncate_mode", ["token_coin", "side_coin"])
def test_one_sample_per_sentence_and_pass(folder, truncate_mode):
    config = config_for(folder, dupe_factor=3, truncate_mode=truncate_mode, num_shards=2)
    manifest = write_pretraining_data(config, block_bytes=2000)
    sentences = [sentence for article in random_corpus(11, 30) for sentence in article]
    examples = read_examples(config.output_file)
    assert len(examples) == manifest.num_samples == 3 * len(sentences)
    # Whole sentences come back as often as they should; the others as contiguous windows.
    found = collections.Counter(tuple(unmask(example)) for example in examples)
    expected = collections.Counter(tuple(ids_of(s)) for s in sentences if len(s) <= BUDGET)
    windows = collections.Counter()
    for sentence in sentences:
        ids = ids_of(sentence)
        windows.update({tuple(ids[start : start + BUDGET]) for start in range(len(ids) - BUDGET + 1)})
    long = 0
    for ids, count in found.items():
        if len(ids) < BUDGET:
            assert count == 3 * expected[ids]
        else:
            assert ids in windows
            long += count
    assert long == 3 * sum(len(sentence) >= BUDGET for sentence in sentences)


def test_passes_differ_in_their_masks(folder):
    config = config_for(folder, dupe_factor=8)
    write_pretraining_data(config)
    by_text = collections.defaultdict(set)
    for example in read_examples(config.output_file):
        by_text[tuple(unmask(example))].add(tuple(example["masked_lm_positions"]))
    assert max(map(len, by_text.values())) > 4


def test_packed_samples_concatenate_to_the_corpus(folder):
    articles = random_corpus(12, 25, longest=BUDGET)
    write_corpus(folder / "corpus.txt", articles)
    config = config_for(folder, sample_mode="packed", dupe_factor=1, num_shards=1)
    manifest = write_pretraining_data(config)
    # Greedy by hand; samples are shuffled, so compare as multisets.
    expected = []
    for article in articles:
        sample: list[int] = []
        for sentence in article:
            if sample and len(sample) + len(sentence) > BUDGET:
                expected.append(tuple(sample))
                sample = []
            sample = sample + ids_of(sentence)
        expected.append(tuple(sample))
    found = [tuple(unmask(example)) for example in read_examples(config.output_file)]
    assert collections.Counter(found) == collections.Counter(expected)
    assert manifest.num_samples == len(expected) < sum(map(len, articles))
    assert sum(map(len, found)) == sum(len(sentence) for article in articles for sentence in article)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(folder):
    first = config_for(folder, output_file=str(folder / "first"), num_shards=3)
    second = config_for(folder, output_file=str(folder / "second"), num_shards=3)
    other = config_for(folder, output_file=str(folder / "other"), num_shards=3, random_seed=54321)
    for config in (first, second, other):
        write_pretraining_data(config, block_bytes=2000)
    assert len(fingerprints(first.output_file)) == 3
    assert fingerprints(first.output_file) == fingerprints(second.output_file)
    assert not set(fingerprints(first.output_file).values()) & set(fingerprints(other.output_file).values())


def test_two_workers_write_the_same_bytes_as_one(folder):
    one = config_for(folder, output_file=str(folder / "one"), num_shards=2, num_workers=1)
    two = config_for(folder, output_file=str(folder / "two"), num_shards=2, num_workers=2)
    write_pretraining_data(one, block_bytes=1000)
    write_pretraining_data(two, block_bytes=1000, text_bytes_per_worker=1000)
    assert fingerprints(one.output_file) == fingerprints(two.output_file) != {}


def test_the_manifest_counts_what_was_written(folder):
    with open(folder / "corpus.txt", "a", encoding="utf-8") as file:
        file.write("\n\u200b\n\n酸\n")
    config = config_for(folder, num_shards=3, dupe_factor=2)
    write_pretraining_data(config)
    with open(folder / "P.manifest.json", encoding="utf-8") as file:
        content = json.load(file)
    corpus = random_corpus(11, 30)
    sentences = sum(map(len, corpus)) + 1
    assert content["sentences"] == sentences and content["dropped_sentences"] == 1
    assert content["articles"] == len(corpus) + 1
    assert content["samples"] == 2 * sentences == sum(shard["samples"] for shard in content["shards"])
    assert content["vocabulary_sha256"] == VOCABULARY.sha256
    assert (content["max_seq_length"], content["max_predictions_per_seq"]) == (16, 4)
    flags = dataclasses.asdict(config)
    assert content["flags"].items() <= flags.items()
    assert set(flags) - set(content["flags"]) == {
        "input_file", "output_file", "vocab_file", "num_workers", "dry_run", "verify", "runner"
    }  # fmt: skip
    assert set(content["versions"]) == {"numpy", "jieba"}
    assert content["corpus_sha256"] == hashlib.sha256((folder / "corpus.txt").read_bytes()).hexdigest()
    for shard in content["shards"]:
        file_content = (folder / shard["file"]).read_bytes()
        assert (shard["bytes"], shard["sha256"]) == (len(file_content), hashlib.sha256(file_content).hexdigest())
        assert sum(1 for _ in tf.data.TFRecordDataset(str(folder / shard["file"]))) == shard["samples"]
    assert sorted(os.listdir(folder)) == sorted(
        ["corpus.txt", "vocab.txt", "P.manifest.json", *(f"P-0000{shard}-of-00003" for shard in range(3))]
    )


def test_records_of_an_earlier_run_are_replaced(folder):
    write_pretraining_data(config_for(folder, num_shards=4))
    manifest = write_pretraining_data(config_for(folder, num_shards=2))
    assert sorted(fingerprints(str(folder / "P"))) == ["-00000-of-00002", "-00001-of-00002"]
    assert len(manifest.shards) == 2


def test_a_failed_run_leaves_no_manifest(folder, monkeypatch):
    write_pretraining_data(config_for(folder))

    def fail(*_):
        raise RuntimeError("on purpose")

    monkeypatch.setattr("chemkd_tf.data.shards._finish_shard", fail)
    with pytest.raises(RuntimeError, match="on purpose"):
        write_pretraining_data(config_for(folder, random_seed=2))
    with pytest.raises(InputError, match="no manifest"):
        read_manifest(str(folder / "P-*"))


def test_earlier_records_stay_until_others_take_their_place(folder, monkeypatch):
    write_pretraining_data(config_for(folder))
    before = fingerprints(str(folder / "P"))

    def fail(*_):
        raise RuntimeError("on purpose")

    monkeypatch.setattr("chemkd_tf.data.shards._spill_block", fail)
    with pytest.raises(RuntimeError, match="on purpose"):
        write_pretraining_data(config_for(folder, random_seed=2))
    assert fingerprints(str(folder / "P")) == before and read_manifest(str(folder / "P")).num_samples
    monkeypatch.undo()
    write_pretraining_data(config_for(folder, random_seed=2))
    assert fingerprints(str(folder / "P")) != before and not (folder / "P.work").exists()


def test_what_is_there_already_is_not_made_again(folder, monkeypatch):
    config = config_for(folder)
    manifest = write_pretraining_data(config)
    monkeypatch.setattr("chemkd_tf.data.shards.WorkerPool", None)
    assert write_pretraining_data(dataclasses.replace(config, num_workers=3)) == manifest
    with pytest.raises(TypeError):
        write_pretraining_data(dataclasses.replace(config, random_seed=3))


def test_a_run_with_other_flags_does_not_continue_an_unfinished_one(folder, monkeypatch):
    monkeypatch.setattr("chemkd_tf.data.shards._finish_shard", None)
    with pytest.raises(TypeError):
        write_pretraining_data(config_for(folder))
    monkeypatch.undo()
    with pytest.raises(InputError, match=r"P.work is of a run .* --dupe_factor differs"):
        write_pretraining_data(config_for(folder, dupe_factor=3))
    with open(folder / "corpus.txt", "a", encoding="utf-8") as file:
        file.write("\n酸\n")
    with pytest.raises(InputError, match="the corpus differs"):
        write_pretraining_data(config_for(folder))


def test_unpadded_records_hold_the_same_samples(folder):
    padded = config_for(folder, output_file=str(folder / "padded"), num_shards=1)
    unpadded = config_for(folder, output_file=str(folder / "unpadded"), num_shards=1, pad_records=False)
    for config in (padded, unpadded):
        write_pretraining_data(config)
    examples = zip(read_examples(padded.output_file), read_examples(unpadded.output_file), strict=True)
    for with_padding, without in examples:
        length, predictions = sum(with_padding["input_mask"]), int(sum(with_padding["masked_lm_weights"]))
        assert without["input_ids"] == with_padding["input_ids"][:length]
        assert without["masked_lm_positions"] == with_padding["masked_lm_positions"][:predictions]
        assert without["masked_lm_ids"] == with_padding["masked_lm_ids"][:predictions]
        assert set(without) == {"input_ids", "masked_lm_positions", "masked_lm_ids"}
    assert os.path.getsize(f"{unpadded.output_file}-00000-of-00001") < os.path.getsize(
        f"{padded.output_file}-00000-of-00001"
    )


def test_dynamic_records_hold_every_sentence_once_and_whole(folder):
    config = config_for(folder, masking="dynamic", do_whole_word_mask=True)
    manifest = write_pretraining_data(config)
    examples = read_examples(config.output_file)
    expected = [tuple(ids_of(sentence)) for article in random_corpus(11, 30) for sentence in article]
    assert collections.Counter(tuple(example["input_ids"]) for example in examples) == collections.Counter(expected)
    assert max(map(len, expected)) > BUDGET
    assert all(sum(example["word_lengths"]) == len(example["input_ids"]) for example in examples)
    assert manifest.format.masking == "dynamic" and manifest.format.whole_words
    assert dict(manifest.format.special_ids) == {"pad": 0, "start": 2, "end": 3, "mask": 4}


def test_the_reader_of_google_research_bert_parses_the_files(folder):
    config = config_for(folder, write_nsp_labels=True)
    write_pretraining_data(config)
    # google-research/bert, run_pretraining.py, input_fn_builder
    name_to_features = {
        "input_ids": tf.io.FixedLenFeature([16], tf.int64),
        "input_mask": tf.io.FixedLenFeature([16], tf.int64),
        "segment_ids": tf.io.FixedLenFeature([16], tf.int64),
        "masked_lm_positions": tf.io.FixedLenFeature([4], tf.int64),
        "masked_lm_ids": tf.io.FixedLenFeature([4], tf.int64),
        "masked_lm_weights": tf.io.FixedLenFeature([4], tf.float32),
        "next_sentence_labels": tf.io.FixedLenFeature([1], tf.int64),
    }
    paths = glob.glob(f"{config.output_file}-*")
    records = list(tf.data.TFRecordDataset(paths).as_numpy_iterator())
    parsed = [tf.io.parse_single_example(record, name_to_features) for record in records]
    assert len(parsed) == 2 * sum(map(len, random_corpus(11, 30)))
    assert all(example["next_sentence_labels"].numpy().tolist() == [0] for example in parsed)


def test_samples_of_an_article_are_spread(folder):
    # Neighbours in the corpus are not neighbours in the records.
    write_corpus(folder / "corpus.txt", [["酸" * 5] * 200, ["碱" * 5] * 200])
    config = config_for(folder, dupe_factor=1, num_shards=1)
    write_pretraining_data(config)
    first = [unmask(example)[0] for example in read_examples(config.output_file)]
    changes = sum(one != other for one, other in zip(first, first[1:], strict=False))
    assert 150 < changes < 250


def test_a_manifest_is_found_by_prefix_file_or_glob(folder):
    prefix = str(folder / "P")
    write_pretraining_data(config_for(folder, num_shards=2))
    manifest = read_manifest(prefix)
    assert manifest.shards == (f"{prefix}-00000-of-00002", f"{prefix}-00001-of-00002")
    assert (manifest.format.max_seq_length, manifest.format.max_predictions_per_seq) == (16, 4)
    assert manifest.format.vocabulary_sha256 == VOCABULARY.sha256
    for same in (f"{prefix}-*", f"{prefix}*", f"{prefix}-00000-of-00002,{prefix}-00001-of-00002", f"{prefix},{prefix}"):
        assert read_manifest(same) == manifest
    part = read_manifest(f"{prefix}-00001-of-00002")
    assert part.shards == manifest.shards[1:] and part.num_samples == manifest.shard_samples[1]


def test_records_that_do_not_belong_together_are_refused(folder):
    prefix = str(folder / "P")
    write_pretraining_data(config_for(folder, num_shards=2))
    write_pretraining_data(config_for(folder, output_file=str(folder / "Q"), max_seq_length=20))
    with pytest.raises(InputError, match="differ in max_seq_length"):
        read_manifest(f"{prefix},{folder}/Q")
    with pytest.raises(InputError, match="no records at"):
        read_manifest(f"{folder}/R")
    with pytest.raises(InputError, match="is empty"):
        read_manifest(" ")
    (folder / "P-00000-of-00009").write_bytes(b"")
    with pytest.raises(InputError, match="P-00000-of-00009: .* does not list it"):
        read_manifest(f"{prefix}-*")
    with pytest.raises(InputError, match="no manifest"):
        read_manifest(str(folder / "corpus.txt"))
    os.remove(f"{prefix}-00001-of-00002")
    with pytest.raises(InputError, match="P-00001-of-00002: missing"):
        read_manifest(prefix)
    (folder / "Q.manifest.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match="can't read the manifest"):
        read_manifest(f"{folder}/Q")


def test_a_corpus_without_any_token_is_refused_and_leaves_no_record(folder):
    (folder / "corpus.txt").write_text("\u200b\n\u200b\u200b\n", encoding="utf-8")
    config = config_for(folder)
    with pytest.raises(InputError, match="not one of its 2 lines has a token"):
        write_pretraining_data(config)
    assert sorted(os.listdir(folder)) == ["corpus.txt", "vocab.txt"]
