import hashlib
import os
import pathlib
import re
import statistics
import subprocess
import sys
from collections import Counter

import pytest

from benchmarks.bag_of_words import read_split, score_bag_of_words
from data_prep import sample_grammar
from data_prep.sample_corpus import write_sample_corpus

ROOT = pathlib.Path(__file__).resolve().parents[2]
SPLITS = ("train", "dev", "test")


def _digests(paths):
    return {name: hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest() for name, path in paths.items()}


def _articles(path):
    return pathlib.Path(path).read_text(encoding="utf-8").removesuffix("\n").split("\n\n")


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return write_sample_corpus(tmp_path_factory.mktemp("default_corpus"))


@pytest.fixture(scope="module")
def labelled(paths):
    return {split: read_split(paths[split]) for split in SPLITS}


def test_same_seed_gives_the_same_bytes_under_another_hash_seed(tmp_path):
    here = write_sample_corpus(tmp_path / "here", random_seed=7, corpus_bytes=100_000)
    command = [sys.executable, "-m", "data_prep.sample_corpus", f"--output_dir={tmp_path / 'there'}"]
    command += ["--random_seed=7", "--corpus_bytes=100000"]
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": "4321"}, capture_output=True)
    there = {name: str(tmp_path / "there" / os.path.relpath(path, tmp_path / "here")) for name, path in here.items()}
    assert _digests(here) == _digests(there)


def test_another_seed_gives_other_bytes(tmp_path):
    first = _digests(write_sample_corpus(tmp_path / "first", random_seed=1, corpus_bytes=50_000))
    second = _digests(write_sample_corpus(tmp_path / "second", random_seed=2, corpus_bytes=50_000))
    assert all(first[name] != second[name] for name in first)


def test_corpus_size_changes_neither_labelled_nor_heldout_text(paths, tmp_path):
    small, default = _digests(write_sample_corpus(tmp_path, corpus_bytes=50_000)), _digests(paths)
    assert all(small[name] == default[name] for name in ("heldout", *SPLITS))


def test_no_temporary_file_remains(paths):
    output_dir = pathlib.Path(paths["corpus"]).parent
    found = {str(path.relative_to(output_dir)) for path in output_dir.rglob("*") if path.is_file()}
    assert found == {"corpus.txt", "heldout.txt", *(os.path.join("labelled", f"{split}.tsv") for split in SPLITS)}


@pytest.mark.parametrize(("name", "least", "most"), [("corpus", 3_500_000, 3_502_000), ("heldout", 150_000, 152_000)])
def test_unlabelled_files_have_the_asked_size(paths, name, least, most):
    assert least <= os.path.getsize(paths[name]) <= most


@pytest.mark.parametrize("name", ["corpus", "heldout"])
def test_unlabelled_files_hold_one_sentence_per_line(paths, name):
    for article in _articles(paths[name]):
        sentences = article.split("\n")
        assert len(sentences) >= 3
        for sentence in sentences:
            assert len(sentence) >= 3
            assert sentence == sentence.strip()
            assert sentence.endswith("。") and sentence.count("。") == 1
            assert "{" not in sentence and "}" not in sentence


def test_no_two_articles_are_equal(paths):
    articles = _articles(paths["corpus"]) + _articles(paths["heldout"])
    assert len(set(articles)) == len(articles)


def test_about_three_quarters_of_the_corpus_are_adverts(paths):
    verbs = {verb for rows in sample_grammar.FAMILY_DUTIES.values() for words, _ in rows for verb in words}
    frames = {frame.replace("{x}", "") for frame in sample_grammar.DISTRACTOR_FRAMES if frame.endswith("{x}")}

    def is_advert(article):
        lines = article.split("\n")
        # A safety entry starts with the substance's name; of the rules, no sentence starts as a distractor does.
        return not lines[0].startswith("化学品名称") and any(
            line.startswith(tuple(frames)) or line.startswith(tuple(verbs)) for line in lines
        )

    articles = _articles(paths["corpus"])
    share = sum(len(article.encode()) for article in articles if is_advert(article)) / os.path.getsize(paths["corpus"])
    assert 0.65 <= share <= 0.85


@pytest.mark.parametrize(("split", "num_rows"), [("train", 400), ("dev", 400), ("test", 1600)])
def test_labels_are_balanced(labelled, split, num_rows):
    texts, labels = labelled[split]
    counts = Counter(labels)
    assert len(texts) == num_rows
    assert len(counts) == 10
    assert set(counts.values()) == {num_rows // 10}


def test_labelled_texts_are_unique_and_absent_from_unlabelled_text(paths, labelled):
    texts = [text for split in SPLITS for text in labelled[split][0]]
    assert len(set(texts)) == len(texts)
    for name in ("corpus", "heldout"):
        unlabelled = {article.replace("\n", "") for article in _articles(paths[name])}
        assert unlabelled.isdisjoint(texts)


def test_labelled_texts_fit_into_128_tokens(labelled):
    lengths = [len(text) for split in SPLITS for text in labelled[split][0]]
    assert min(lengths) >= 60
    assert max(lengths) <= 125
    assert 85 <= statistics.median(lengths) <= 115


def test_titles_stand_in_a_minority_of_adverts_and_never_in_labelled_text(paths, labelled):
    titles = [title for titles in sample_grammar.JOB_TITLES.values() for title in titles]
    advertised = [f"招聘岗位：{title}。" for title in titles]
    articles = _articles(paths["corpus"])
    share = sum(any(title in article for title in advertised) for article in articles) / len(articles)
    assert 0.08 <= share <= 0.15
    assert not [text for split in SPLITS for text in labelled[split][0] if any(title in text for title in advertised)]


def test_every_family_has_many_actions_and_shares_its_verbs():
    verbs = {
        family: {verb for words, _ in rows for verb in words} for family, rows in sample_grammar.FAMILY_DUTIES.items()
    }
    for family, own in verbs.items():
        others = set().union(*(verbs[other] for other in verbs if other != family))
        assert len(own) >= 25
        # Otherwise the verb alone would tell the family.
        assert len(own & others) / len(own) >= 0.4, family


def test_no_duty_clause_belongs_to_two_families():
    owners = {}
    for family, rows in sample_grammar.FAMILY_DUTIES.items():
        for verbs, objects in rows:
            for verb in verbs:
                for duty_object in objects:
                    assert owners.setdefault(verb + duty_object, family) == family, verb + duty_object


def _alternatives(templates):
    return "|".join(re.sub(r"\\{\w+\\}", ".+", re.escape(template)) for template in templates)


def test_a_reader_who_knows_the_frames_finds_every_label(labelled):
    distractor = re.compile(f"(?:{_alternatives(sample_grammar.DISTRACTOR_FRAMES)})")
    duties = {
        family: [re.compile(f"(?:{'|'.join(verbs)})(?:{_alternatives(objects)})") for verbs, objects in rows]
        for family, rows in sample_grammar.FAMILY_DUTIES.items()
    }
    texts, labels = labelled["dev"]
    right = 0
    for text, label in zip(texts, labels, strict=True):
        votes = Counter()
        for sentence in text.split("。"):
            if not distractor.fullmatch(sentence):
                votes.update(family for family, rows in duties.items() for row in rows if row.search(sentence))
        right += votes.most_common(1)[0][0] == label
    assert right / len(texts) >= 0.97


@pytest.mark.slow
def test_bag_of_words_stays_between_guessing_and_a_solved_task(labelled):
    scores = score_bag_of_words(*(labelled[split] for split in SPLITS))
    for name in ("character_tfidf", "word_tfidf"):
        assert 0.55 <= scores[name]["macro_f1"] < 0.85
