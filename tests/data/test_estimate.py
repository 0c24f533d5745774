import dataclasses
import glob
import os

import pytest
from data.record_oracles import config_for, random_corpus, read_examples, unmask, write_corpus, write_vocabulary

from chemkd_tf.data.estimate import estimate
from chemkd_tf.data.shards import write_pretraining_data
from chemkd_tf.data.verification import verify_records
from chemkd_tf.errors import InputError


@pytest.mark.parametrize(
    "flags",
    [{"num_shards": 2}, {"sample_mode": "packed"}, {"pad_records": False, "do_whole_word_mask": True},
     {"masking": "dynamic"}],
)  # fmt: skip
def test_a_small_corpus_is_estimated_exactly_where_nothing_is_drawn(tmp_path, flags):
    write_vocabulary(tmp_path)
    write_corpus(tmp_path / "corpus.txt", random_corpus(11, 60))
    config = config_for(tmp_path, dupe_factor=3, **flags)
    before = sorted(os.listdir(tmp_path))
    found = estimate(config)
    assert sorted(os.listdir(tmp_path)) == before
    manifest = write_pretraining_data(config)
    assert (found.samples, found.num_shards) == (manifest.num_samples, len(manifest.shards))
    assert found.corpus_bytes == found.sampled_bytes == os.path.getsize(tmp_path / "corpus.txt")
    assert found.sentences == sum(map(len, random_corpus(11, 60)))
    written = sum(map(os.path.getsize, glob.glob(f"{tmp_path}/P-*")))
    assert abs(found.record_bytes / written - 1) < (0.05 if config.masking == "static" else 1e-9)
    if config.masking == "static":
        lengths = [
            len(example["input_ids"]) if not config.pad_records else sum(example["input_mask"])
            for example in read_examples(config.output_file)
        ]
        assert found.tokens == sum(lengths)
        assert found.padding_share == pytest.approx(1 - sum(lengths) / len(lengths) / 16)
    sentences = [sentence for article in random_corpus(11, 60) for sentence in article]
    assert found.cut_share == pytest.approx(sum(len(sentence) > 14 for sentence in sentences) / len(sentences))
    assert "samples" in str(found) and "time" in str(found)


def test_a_large_corpus_is_judged_from_a_part_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr("chemkd_tf.data.estimate.PIECE_BYTES", 1 << 12)
    write_vocabulary(tmp_path)
    for name in ("a.txt", "b.txt"):
        write_corpus(tmp_path / name, random_corpus(len(name), 3000))
    config = config_for(tmp_path, input_file=f"{tmp_path}/*.txt", dupe_factor=1)
    config = dataclasses.replace(config, input_file=f"{tmp_path}/a.txt,{tmp_path}/b.txt")
    found = estimate(config)
    assert found.num_files == 2 and found.sampled_bytes < 0.3 * found.corpus_bytes
    manifest = write_pretraining_data(config)
    assert found.samples == pytest.approx(manifest.num_samples, rel=0.05)
    written = sum(map(os.path.getsize, glob.glob(f"{tmp_path}/P-*")))
    assert found.record_bytes == pytest.approx(written, rel=0.05)
    assert all(len(unmask(example)) <= 14 for example in read_examples(config.output_file)[:50])


def test_a_corpus_without_a_token_is_refused(tmp_path):
    write_vocabulary(tmp_path)
    (tmp_path / "corpus.txt").write_text("\u200b\n", encoding="utf-8")
    with pytest.raises(InputError, match="no line with a token"):
        estimate(config_for(tmp_path))


def test_verification_names_every_file_that_differs(tmp_path):
    write_vocabulary(tmp_path)
    write_corpus(tmp_path / "corpus.txt", random_corpus(11, 30))
    config = config_for(tmp_path, num_shards=4)
    with pytest.raises(InputError, match="no such manifest"):
        verify_records(config.output_file)
    write_pretraining_data(config)
    paths = sorted(glob.glob(f"{tmp_path}/P-0*"))
    assert verify_records(config.output_file) == (4, sum(map(os.path.getsize, paths)))
    with open(paths[0], "ab") as file:
        file.write(b"x")
    content = bytearray(open(paths[1], "rb").read())
    content[len(content) // 2] ^= 1
    with open(paths[1], "wb") as file:
        file.write(content)
    os.remove(paths[2])
    with pytest.raises(
        InputError, match=r"3 of 4 files differ: P-00000\S+ has .*P-00001\S+ has other content.*P-00002\S+ is missing"
    ):
        verify_records(config.output_file)
