"""The cleaning job as a whole, and the script as a user runs it."""

import gzip
import json
import os
import random
import resource
import subprocess
import sys

import pytest

from chemkd_tf.cleaning.cleaner import write_clean_corpus
from chemkd_tf.config import CleanConfig
from chemkd_tf.data.blocks import read_lines
from chemkd_tf.errors import InputError

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DIRTY = """<p>盐酸（HCl）是强酸。它的ｐＨ＜７，有腐蚀性；使用时应戴手套！</p>
见下文。

氢氧化钠是强碱。溶于水时放热，浓度为１．５ mol/L。
前言

盐酸(HCl)是强酸.它的pH<7,有腐蚀性;使用时应戴手套!见下文

版权所有
"""
CLEAN = """盐酸（HCl）是强酸。
它的pH<7，有腐蚀性；
使用时应戴手套！

氢氧化钠是强碱。
溶于水时放热，浓度为1.5 mol/L。

"""


def clean(folder, text: str | bytes = DIRTY, name: str = "raw.txt", **settings) -> tuple[str, dict]:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    target = folder / "clean.txt"
    report = write_clean_corpus(CleanConfig(input_file=str(path), output_file=str(target), **settings))
    assert report == json.loads((folder / "clean.txt.report.json").read_text(encoding="utf-8"))
    return target.read_text(encoding="utf-8"), report


def random_corpus(seed: int, articles: int) -> str:
    """Articles of random sentences; some are repeated with a few changes, some are too short, some sentences return."""
    rng = random.Random(seed)

    def sentence() -> str:
        return "".join(chr(rng.randrange(0x4E00, 0x9FA5)) for _ in range(rng.randrange(1, 30))) + rng.choice("。！？；")

    boilerplate = sentence() + sentence()
    texts: list[str] = []
    for _ in range(articles):
        if texts and rng.random() < 0.3:
            text = rng.choice(texts)
            place = rng.randrange(len(text))
            texts.append(text[:place] + rng.choice(["", "　", "改", sentence()]) + text[place:])
        else:
            texts.append(
                "".join(sentence() for _ in range(rng.randrange(1, 12))) + rng.choice(["", "\n" + boilerplate])
            )
    return "\n\n".join(texts)


def test_a_dirty_corpus_becomes_sentences_and_articles(tmp_path):
    text, report = clean(tmp_path)
    assert text == CLEAN
    assert report["read"]["articles"] == 4 and report["kept"]["articles"] == 2 and report["kept"]["sentences"] == 5
    assert report["kept"]["bytes"] == len(CLEAN.encode())
    dropped = report["dropped_articles"]
    assert {reason: value["count"] for reason, value in dropped.items()} == {"duplicate": 1, "too short": 1}
    (example,) = dropped["duplicate"]["examples"]
    assert example["at"].endswith("raw.txt:7") and example["like"].endswith("raw.txt:1")
    short = [example["text"] for example in report["dropped_sentences"]["too short"]["examples"]]
    assert short == ["见下文。", "前言", "见下文"]
    assert report["articles_changed_by_step"]["html"] == 1 and report["articles_changed_by_step"]["unicode"] == 2


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("settings", [{}, {"drop_repeated_sentences": 2}, {"near_duplicate_threshold": 0.5}])
def test_nothing_is_lost_without_a_reason_and_a_second_run_drops_nothing(tmp_path, seed, settings):
    text, report = clean(tmp_path, random_corpus(seed, 60), **settings)
    read, kept = report["read"], report["kept"]
    articles, sentences = report["dropped_articles"], report["dropped_sentences"]
    assert articles["near-duplicate"]["count"] > 0 and articles["duplicate"]["count"] > 0
    assert read["articles"] == kept["articles"] + sum(value["count"] for value in articles.values())
    assert read["sentences"] == (
        kept["sentences"]
        + sum(value["count"] for value in sentences.values())
        + sum(value["sentences"] for value in articles.values())
    )
    lines = text.split("\n")
    assert kept["sentences"] == sum(map(bool, lines)) and kept["characters"] == sum(map(len, lines))
    again, second = clean(tmp_path, text, **settings)
    assert again == text
    assert not second["dropped_articles"] and not second["dropped_sentences"]
    assert not any(second["articles_changed_by_step"].values())


def test_the_same_input_gives_the_same_bytes_in_every_format(tmp_path):
    texts = random_corpus(5, 30)
    expected, _ = clean(tmp_path, texts)
    records = "".join(json.dumps({"body": text}) + "\n" for text in texts.split("\n\n"))
    assert clean(tmp_path, records, "raw.jsonl", text_field="body")[0] == expected
    assert clean(tmp_path, gzip.compress(records.encode()), "raw.jsonl.gz", text_field="body")[0] == expected
    assert clean(tmp_path, texts.replace("\n", "\r\n"))[0] == expected


def test_steps_can_be_switched_off_one_by_one(tmp_path):
    def lines(**settings):
        return clean(tmp_path, **{"min_sentence_chars": 0, "min_article_chars": 0, **settings})[0].split("\n")

    assert "版权所有" in lines()
    assert lines(drop_duplicates=False, near_duplicate_threshold=0.0)[-3] == "版权所有"
    assert len(lines(drop_duplicates=False, near_duplicate_threshold=0.0)) > len(lines())
    assert "<p>盐酸（HCl）是强酸。" in lines(remove_html=False)
    assert "溶于水时放热，浓度为１．５ mol/L。" in lines(unicode_form="none")
    assert "盐酸(HCl)是强酸。" in lines(keep_chinese_punctuation=False)
    assert "氢氧化钠是强碱。溶于水时放热，浓度为1.5 mol/L。" in lines(split_sentences=False)
    assert max(map(len, lines(max_sentence_chars=16))) <= 16


def test_a_copy_of_a_dropped_near_duplicate_is_a_duplicate_of_that(tmp_path):
    rng = random.Random(0)
    first, other = ("".join(chr(rng.randrange(0x4E00, 0x9FA5)) for _ in range(200)) for _ in range(2))
    near = first[:100] + "改" + first[101:]
    text, report = clean(tmp_path, "\n\n".join([first, near, near, other, near]), min_sentence_chars=0)
    assert text == f"{first}\n\n{other}\n\n"
    dropped = report["dropped_articles"]
    assert [(example["at"][-1], example["like"][-1]) for example in dropped["near-duplicate"]["examples"]] == [
        ("3", "1")
    ]
    assert [(example["at"][-1], example["like"][-1]) for example in dropped["duplicate"]["examples"]] == [
        ("5", "3"),
        ("9", "3"),
    ]


def test_articles_with_little_chinese_can_be_dropped(tmp_path):
    text, report = clean(tmp_path, "盐酸是一种强酸abc\n\nHydrochloric acid 盐酸\n", min_chinese_ratio=0.5)
    assert text == "盐酸是一种强酸abc\n\n"
    assert report["dropped_articles"]["too little Chinese"]["count"] == 1


def test_invalid_articles_are_counted_and_the_others_stay(tmp_path):
    raw = "盐酸有非常强的腐蚀性。\n\n".encode() + b"\xff\xfe\n\n" + "氢氧化钠也是一种强碱。\n".encode()
    text, report = clean(tmp_path, raw, invalid_utf8="drop_article")
    assert text == "盐酸有非常强的腐蚀性。\n\n氢氧化钠也是一种强碱。\n\n"
    assert report["dropped_articles"]["not UTF-8"]["examples"][0]["at"].endswith("raw.txt:3")


def test_an_input_is_never_replaced(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text(DIRTY, encoding="utf-8")
    os.symlink(path, tmp_path / "link.txt")
    os.link(path, tmp_path / "b.txt.report.json")
    for target in ("a.txt", "link.txt", "b.txt"):
        with pytest.raises(InputError, match="would replace the input"):
            write_clean_corpus(CleanConfig(input_file=f"{tmp_path}/*.txt", output_file=str(tmp_path / target)))
    for target, message in (("", "is a folder"), ("c.txt.gz", "leave the ending off"), ("a.txt/c", "can't be written")):
        with pytest.raises(InputError, match=message):
            write_clean_corpus(CleanConfig(input_file=str(path), output_file=str(tmp_path / target)))
    assert path.read_text(encoding="utf-8") == DIRTY


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "no text in"), (" \n\n", "no text in"), ("前言\n\n<br>\n", r"nothing is left of 2 articles \(2 empty\)")],
)
def test_nothing_to_write_is_an_error_and_writes_nothing(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        clean(tmp_path, text)
    assert os.listdir(tmp_path) == ["raw.txt"]


def test_an_old_result_stays_when_a_new_one_fails(tmp_path):
    before, _ = clean(tmp_path)
    report = (tmp_path / "clean.txt.report.json").read_bytes()
    with pytest.raises(InputError, match="not JSON"):
        clean(tmp_path, json.dumps({"text": DIRTY}) + "\n{", "raw.jsonl")
    assert (tmp_path / "clean.txt").read_text(encoding="utf-8") == before
    assert (tmp_path / "clean.txt.report.json").read_bytes() == report
    assert sorted(os.listdir(tmp_path)) == ["clean.txt", "clean.txt.report.json", "raw.jsonl", "raw.txt"]


def test_settings_that_make_no_sense_are_refused_with_the_flag():
    for name, value in (
        ("input_file", ""),
        ("output_file", ""),
        ("min_sentence_chars", -1),
        ("max_sentence_chars", 3),
        ("max_article_chars", 0),
        ("min_chinese_ratio", 1.5),
        ("near_duplicate_threshold", 0.3),
        ("drop_repeated_sentences", -1),
    ):
        with pytest.raises(InputError, match=f"--{name}"):
            CleanConfig(**{"input_file": "a", "output_file": "b", name: value})


def run(*arguments: str, **settings) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, os.path.join("data_prep", "clean_corpus.py"), *arguments],
        cwd=ROOT,
        capture_output=True,
        check=False,
        **settings,
    )


def test_standard_input_to_a_corpus_that_the_next_script_reads(tmp_path):
    target = str(tmp_path / "out" / "clean.txt")
    done = run("--input_file=-", f"--output_file={target}", input=gzip.compress(DIRTY.encode()))
    assert done.returncode == 0, done.stderr
    assert "".join(read_lines([target])) == CLEAN
    first = done.stdout.decode().splitlines()[0]
    assert first.startswith(f"{target}: 2 of 4 articles, 5 of 12 sentences")
    assert b"cleaning" in done.stderr
    report = json.loads(open(target + ".report.json", encoding="utf-8").read())
    assert report["dropped_articles"]["duplicate"]["examples"][0]["at"] == "standard input:7"


def test_bad_input_is_one_line_and_status_2_and_leaves_nothing(tmp_path):
    bad = "盐酸是一种强酸。\n".encode() + b"\xff\n"
    done = run("--input_file=-", f"--output_file={tmp_path}/clean.txt", input=bad)
    assert done.returncode == 2 and done.stdout == b""
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("error: standard input:2: not UTF-8")
    assert os.listdir(tmp_path) == []


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    raw = random_corpus(2, 400)
    done = run(
        "--input_file=-",
        f"--output_file={tmp_path}/clean.txt",
        "--near_duplicate_threshold=0",
        input=raw.encode(),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith(f"error: --output_file={tmp_path}/clean.txt: can't be written (File too large)")
    assert os.listdir(tmp_path) == []


def test_neither_tensorflow_nor_an_unused_library_is_loaded():
    code = (
        "import sys, chemkd_tf.cleaning.cleaner; "
        "print([name for name in ('tensorflow', 'keras', 'datasketch', 'scipy', 'zstandard') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
