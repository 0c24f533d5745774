"""The job of data_prep/extend_vocab.py, measured against the restatement of google-research/bert's rules."""

import json
import os
import random
import subprocess
import sys
from collections import Counter

import pytest
from text import reference_tokenizer

from chemkd_tf.config import VocabularyExtensionConfig
from chemkd_tf.data import blocks, domain_vocabulary
from chemkd_tf.data.domain_vocabulary import summary, write_extended_vocabulary
from chemkd_tf.errors import InputError
from chemkd_tf.text.vocabulary import load_vocabulary

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
ENTRIES = [
    "[PAD]", *(f"[unused{number}]" for number in range(1, 8)), "[UNK]", "[CLS]", "[SEP]", "[MASK]",
    *"酸碱水的温度。，（）℃", *LETTERS, *(f"##{letter}" for letter in LETTERS), "na", "##oh",
]  # fmt: skip
WORDS = ["酸", "碱", "氯", "乙", "烯", "釜", "。", "—", "NaOH", "PVC", "pvc", "H2SO4", "50ml", "15℃", "αβ", "é", "３"]
ARTICLES = "氯乙烯—NaOH与PVC，\nnaoh 50ML 25ml 氯。\n\nPVC（15℃）pvc\n\u2028氯\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(ENTRIES) + "\n", encoding="utf-8")
    (tmp_path / "corpus.txt").write_text(ARTICLES, encoding="utf-8")
    return tmp_path


def config(folder, **changes) -> VocabularyExtensionConfig:
    values = dict(
        input_file=str(folder / "corpus*.txt"), vocab_file=str(folder / "vocab.txt"),
        output_file=str(folder / "new.txt"), min_frequency=2,
    )  # fmt: skip
    return VocabularyExtensionConfig(**{**values, **changes})


def random_corpus(seed: int) -> str:
    rng = random.Random(seed)
    lines = ("".join(word + rng.choice(["", " "]) for word in rng.choices(WORDS, k=12)) for _ in range(60))
    return "\n".join(line + rng.choice(["", "\n"]) for line in lines)


def counted(text: str, entries: list[str], do_lower_case: bool = True) -> Counter[str]:
    tokens: Counter[str] = Counter()
    known = set(entries)
    for line in text.split("\n"):
        tokens.update(reference_tokenizer.tokenize(line, known, do_lower_case))
    return tokens


def latin_words(text: str, old: list[str], new: list[str]) -> dict:
    words = [
        word for line in text.split("\n") for word in reference_tokenizer.words(line) if set(word) & set(LETTERS[:26])
    ]
    pieces = [[reference_tokenizer.pieces_of_word(word, set(entries)) for word in words] for entries in (old, new)]
    known = [pair for pair in zip(*pieces, strict=True) if ["[UNK]"] not in pair]
    return {
        "words": len(words),
        "unknown_before": pieces[0].count(["[UNK]"]),
        "unknown_after": pieces[1].count(["[UNK]"]),
        "mean_pieces_before": pytest.approx(sum(len(pair[0]) for pair in known) / len(known)),
        "mean_pieces_after": pytest.approx(sum(len(pair[1]) for pair in known) / len(known)),
    }


def test_a_small_corpus_by_hand(folder):
    report = write_extended_vocabulary(config(folder))
    entries = load_vocabulary(str(folder / "new.txt")).tokens
    # 氯 is there three times, 乙, 烯, —, 与 and "##℃" once; pvc three times (each saves 2 tokens); naoh, which was
    # "na ##oh", and "##ml" twice (each saves 1).
    assert entries[1:8] == ("氯", "pvc", "##ml", "naoh", "[unused5]", "[unused6]", "[unused7]")
    assert entries[0] == "[PAD]" and entries[8:] == tuple(ENTRIES[8:])
    first, second, third, fourth = report["entries"]
    assert first == {
        "token": "氯", "id": 1, "replaces": "[unused1]", "kind": "character", "frequency": 3, "tokens_after": 3,
        "mean_of": "ideographs", "old_pieces": [], "old_ids": [],
    }  # fmt: skip
    assert second == {
        "token": "pvc", "id": 2, "replaces": "[unused2]", "kind": "word", "frequency": 3, "tokens_after": 3,
        "mean_of": "pieces", "old_pieces": ["p", "##v", "##c"],
        "old_ids": [ENTRIES.index("p"), ENTRIES.index("##v"), ENTRIES.index("##c")],
    }  # fmt: skip
    assert (third["token"], third["old_pieces"]) == ("##ml", ["##m", "##l"])
    assert (fourth["token"], fourth["frequency"], fourth["old_pieces"]) == ("naoh", 2, ["na", "##oh"])
    assert report["before"]["unknown_tokens"] == 8 and report["after"]["unknown_tokens"] == 5
    assert report["share_of_unknown_removed"] == 3 / 8
    assert report["left_out"]["characters_too_rare"] == 5
    assert report == json.loads((folder / "new.txt.report.json").read_text(encoding="utf-8"))
    assert sorted(os.listdir(folder)) == ["corpus.txt", "new.txt", "new.txt.report.json", "vocab.txt"]
    table = summary(report)
    assert "37.5% removed" in table and "1 characters, 3 words; 4 in [unusedN] entries, of which 3 are left" in table
    assert "mean of all ideographs" in table and "p ##v ##c" in table


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("append", [False, True])
def test_old_entries_keep_their_ids_and_figures_are_those_of_the_reference(folder, seed, append):
    text = random_corpus(seed)
    (folder / "corpus.txt").write_text(text, encoding="utf-8")
    report = write_extended_vocabulary(config(folder, append=append, num_new_entries=12))
    new = list(load_vocabulary(str(folder / "new.txt")).tokens)
    added = {entry["id"]: entry for entry in report["entries"]}
    assert len(added) == (12 if append else 7)
    for index, token in enumerate(new):
        if index in added:
            assert added[index]["token"] == token
            assert added[index]["replaces"] == (ENTRIES[index] if index < len(ENTRIES) else None)
        else:
            assert token == ENTRIES[index]
    assert len(new) == len(ENTRIES) + (5 if append else 0) == report["new_vocabulary"]["entries"]
    before, after = counted(text, ENTRIES), counted(text, new)
    for when, tokens in (("before", before), ("after", after)):
        assert report[when] == {"tokens": sum(tokens.values()), "unknown_tokens": tokens["[UNK]"]}
    assert report["share_of_unknown_removed"] == pytest.approx(1 - after["[UNK]"] / before["[UNK]"])
    for entry in report["entries"]:
        assert entry["tokens_after"] == after[entry["token"]]
        assert [ENTRIES[index] for index in entry["old_ids"]] == entry["old_pieces"]
        if entry["kind"] == "word" and not entry["token"].startswith("##"):
            assert reference_tokenizer.pieces_of_word(entry["token"], set(ENTRIES)) in (entry["old_pieces"], ["[UNK]"])
    assert report["latin_words"] == latin_words(text, ENTRIES, new)


def test_the_result_does_not_depend_on_how_the_corpus_is_cut(folder, monkeypatch):
    text = random_corpus(9)
    (folder / "corpus.txt").write_text(text, encoding="utf-8")
    write_extended_vocabulary(config(folder))
    expected = (folder / "new.txt").read_bytes()
    first = json.loads((folder / "new.txt.report.json").read_text(encoding="utf-8"))
    monkeypatch.setattr(domain_vocabulary, "split_into_blocks", lambda paths: blocks.split_into_blocks(paths, 50))
    monkeypatch.setattr(domain_vocabulary, "MOST_WORDS_REMEMBERED", 3)
    again = write_extended_vocabulary(config(folder))
    assert (folder / "new.txt").read_bytes() == expected
    for report in (first, again):
        del report["seconds"]
    assert first == again


def test_case_and_words_are_as_asked(folder):
    (folder / "corpus.txt").write_text("NaOH NaOH PVC PVC é é\n", encoding="utf-8")
    tokens = [entry["token"] for entry in write_extended_vocabulary(config(folder, do_lower_case=False))["entries"]]
    # N, P and O are missing as they stand; "NaOH" and "PVC" are [UNK] until they are there.
    assert tokens == ["##C", "##H", "##O", "##V", "N", "P", "é"]
    assert write_extended_vocabulary(config(folder, add_words=False))["entries"] == []
    assert [entry["token"] for entry in write_extended_vocabulary(config(folder, min_word_length=4))["entries"]] == [
        "naoh"
    ]


def test_a_corpus_that_lacks_nothing_leaves_the_vocabulary_as_it_is(folder):
    (folder / "corpus.txt").write_text("酸碱。\n", encoding="utf-8")
    report = write_extended_vocabulary(config(folder))
    assert (folder / "new.txt").read_text(encoding="utf-8").split() == ENTRIES
    assert report["share_of_unknown_removed"] is None and report["latin_words"]["mean_pieces_before"] is None
    assert "there was none" in summary(report) and "left out: none" in summary(report)


def refusal(settings: VocabularyExtensionConfig) -> str:
    with pytest.raises(InputError) as refused:
        write_extended_vocabulary(settings)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_bad_input_is_named_and_nothing_is_written(folder):
    before = sorted(os.listdir(folder))
    (folder / "vocab.txt").write_text("\n".join(entry for entry in ENTRIES if "unused" not in entry), encoding="utf-8")
    assert "vocab.txt: none of its 90 entries is an [unusedN] that could be filled: --append" in refusal(config(folder))
    (folder / "vocab.txt").write_text("\n".join([*ENTRIES, "酸"]), encoding="utf-8")
    assert f"vocab.txt:{len(ENTRIES) + 1}: '酸' stands on line" in refusal(config(folder))
    (folder / "vocab.txt").write_text("\n".join(ENTRIES), encoding="utf-8")
    assert "would replace the input" in refusal(config(folder, output_file=str(folder / "vocab.txt")))
    assert "would replace the input" in refusal(config(folder, output_file=str(folder / "corpus.txt")))
    assert "is a folder; name a file in it" in refusal(config(folder, output_file=str(folder)))
    assert "can't be written" in refusal(config(folder, output_file=str(folder / "vocab.txt" / "new.txt")))
    assert "no file matches" in refusal(config(folder, input_file=str(folder / "nowhere")))
    (folder / "corpus.txt").write_bytes("酸\n".encode() + b"\xff\n")
    assert "corpus.txt:2: not UTF-8" in refusal(config(folder))
    (folder / "corpus.txt").write_text("\n \n", encoding="utf-8")
    assert "no text" in refusal(config(folder))
    assert sorted(os.listdir(folder)) == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_file": ""}, "--input_file is empty"),
        ({"vocab_file": ""}, "--vocab_file is empty"),
        ({"output_file": ""}, "--output_file is empty"),
        ({"num_new_entries": 0}, "--num_new_entries=0: at least 1"),
        ({"min_frequency": 0}, "--min_frequency=0: at least 1"),
        ({"min_word_length": 1}, "--min_word_length=1: at least 2"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        config(tmp_path, **changes)


def run(folder, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, os.path.join("data_prep", "extend_vocab.py"), f"--input_file={folder}/corpus.txt",
         f"--vocab_file={folder}/vocab.txt", f"--output_file={folder}/out/new.txt", *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_script_prints_what_it_changed(folder):
    done = run(folder, "--min_frequency=2")
    assert done.returncode == 0, done.stderr
    assert "37.5% removed" in done.stdout and "bytes/s" in done.stderr
    assert sorted(os.listdir(folder / "out")) == ["new.txt", "new.txt.report.json"]
    refused = run(folder, "--min_frequency=0")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == "error: --min_frequency=0: at least 1\n"
