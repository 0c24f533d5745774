"""The page's tokeniser in JavaScript gives the ids of BertTokenizer, and so of google-research/bert's FullTokenizer."""

import hashlib
import json
import os
import pathlib
import random
import shutil
import subprocess
import unicodedata

import pytest
from text import reference_tokenizer

from chemkd_tf.text.tokenization import BertTokenizer
from chemkd_tf.text.vocabulary import Vocabulary, load_vocabulary, save_vocabulary, vocabulary_of
from web.test import make_hard_cases

WEB = pathlib.Path(__file__).parents[2] / "web"
NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="no node found: install Node 20 or later")

# Browsers and Node know them, TensorFlow's older tables don't: capitals of Unicode 14 (newer ones Python 3.11 doesn't
# know either), and a vowel sign that became non-spacing.
NEWER = {0x2C2F, 0xA7C0, 0xA7D0, 0xA7D6, 0xA7D8, 0x1171E, *range(0x10570, 0x10596)}
CHARACTERS = [
    chr(code)
    for code in range(0x110000)
    if code not in NEWER and unicodedata.category(chr(code)) not in ("Cn", "Cs", "Co")
]


def in_javascript(vocabulary: Vocabulary, texts: list[str], folder: pathlib.Path, *options: str) -> list[list[int]]:
    """Ids of the page's tokeniser; lone surrogates are kept on the way."""
    save_vocabulary(vocabulary, str(folder / "vocab.txt"))
    (folder / "texts.json").write_text(json.dumps(texts), encoding="ascii")
    command = [NODE, WEB / "tools" / "tokenize.mjs", folder / "vocab.txt", folder / "texts.json", *options]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def test_the_hard_cases_are_up_to_date():
    assert make_hard_cases.FILE.read_text(encoding="ascii") == make_hard_cases.text(), (
        "run: PYTHONPATH=. python web/test/make_hard_cases.py"
    )


def test_the_hard_cases_are_answered_as_the_reference_answers_them():
    content = json.loads(make_hard_cases.FILE.read_text(encoding="ascii"))
    ids = {token: index for index, token in enumerate(content["vocabulary"])}
    for case in content["cases"]:
        text = make_hard_cases.utf8("".join(string * count for string, count in case["parts"]))
        expected = [ids[piece] for piece in reference_tokenizer.tokenize(text, ids, case["do_lower_case"])]
        if "ids" in case:
            assert case["ids"] == expected, case["name"]
        else:
            digest = hashlib.sha256(",".join(map(str, expected)).encode()).hexdigest()
            assert (case["num_ids"], case["sha256"]) == (len(expected), digest), case["name"]
        assert case["row"][: len(expected) + 2] == [ids["[CLS]"], *expected[:6], ids["[SEP]"]], case["name"]


@pytest.mark.parametrize(
    "characters",
    [
        "\u2028",
        "\u200b",
        "\u200d",
        "\u0130",
        "Σ",
        "[MASK]",
        "H2SO4",
        "15℃",
        "\x00",
        "\x85",
        "\ud800",
        "\u0301",
        "Ｈ",
        "😀",
    ],
    ids=ascii,
)
def test_the_hard_cases_hold(characters):
    assert any(characters in make_hard_cases.text_of(parts) for parts in make_hard_cases.CASES.values())


@pytest.mark.parametrize("plane", [1, 2, 3])
def test_the_hard_cases_hold_characters_of_the_plane(plane):
    characters = set("".join(map(make_hard_cases.text_of, make_hard_cases.CASES.values())))
    assert any(ord(character) >> 16 == plane for character in characters)


@pytest.mark.parametrize("length", [200, 201, 10_000])
def test_the_hard_cases_hold_a_text_of_the_length(length):
    assert length in {len(make_hard_cases.text_of(parts)) for parts in make_hard_cases.CASES.values()}


@needs_node
def test_the_tests_of_the_page_pass():
    run = subprocess.run([NODE, "--test", "test/"], cwd=WEB, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-1000:]


@needs_node
@pytest.mark.parametrize("do_lower_case", [True, False])
def test_random_texts_have_the_same_ids(do_lower_case, tmp_path):
    rng = random.Random(11)
    common = "的化学aAbBΣσİı1２ \t。，-[#\u0301\u0327\u200b\u2028é\ud83d\ude00\ud800😀"
    texts = [
        "".join(rng.choice(CHARACTERS) if rng.random() < 0.3 else rng.choice(common) for _ in range(rng.randrange(40)))
        for _ in range(3000)
    ]
    # Half of all characters have an entry, so that little becomes [UNK].
    alphabet = sorted(
        set(common) - set(" \t\u200b\u2028\ud83d\ude00\ud800") | set(rng.sample(CHARACTERS[200:], 70_000))
    )
    alphabet = [character for character in alphabet if not character.isspace()]
    vocabulary = vocabulary_of([*alphabet, *("##" + character for character in alphabet)])
    found = in_javascript(vocabulary, texts, tmp_path, *([] if do_lower_case else ["--cased"]))
    # A pair that stands side by side is one character in JavaScript and in UTF-8 alike.
    utf8 = [text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode() for text in texts]
    assert found == BertTokenizer(vocabulary, do_lower_case).tokenize(utf8).to_list()
    assert sum(map(len, found)) > 30_000
    assert sum(row.count(vocabulary.unknown_id) for row in found) < 0.5 * sum(map(len, found))


@needs_node
@pytest.mark.slow
@pytest.mark.parametrize("do_lower_case", [True, False])
def test_every_character_that_tensorflow_knows_has_the_same_ids(do_lower_case, tmp_path):
    printed = [c for c in CHARACTERS if unicodedata.category(c) not in ("Cc", "Cf") and not c.isspace()]
    vocabulary = vocabulary_of([*printed, *("##" + character for character in printed)])
    texts = [f"a{character}b" for character in CHARACTERS]
    found = in_javascript(vocabulary, texts, tmp_path, *([] if do_lower_case else ["--cased"]))
    expected = BertTokenizer(vocabulary, do_lower_case).tokenize(texts).to_list()
    wrong = [hex(ord(c)) for c, ours, right in zip(CHARACTERS, found, expected, strict=True) if ours != right]
    assert wrong == []


@needs_node
def test_real_sentences_have_the_same_ids(tmp_path):
    folder, path = os.environ.get("CHEMKD_REAL_TEXT"), os.environ.get("CHEMKD_REAL_VOCAB")
    if not folder or not path:
        pytest.skip("set CHEMKD_REAL_TEXT (a folder of .txt) and CHEMKD_REAL_VOCAB (a BERT vocabulary)")
    sentences = []
    for name in sorted(pathlib.Path(folder).glob("*.txt")):
        sentences += [line for line in name.read_text(encoding="utf-8").split("\n") if line.strip()]
    sentences = random.Random(1).sample(sentences, min(20_000, len(sentences)))
    vocabulary = load_vocabulary(path)
    found = in_javascript(vocabulary, sentences, tmp_path)
    expected = [
        row
        for start in range(0, len(sentences), 1000)
        for row in BertTokenizer(vocabulary).tokenize(sentences[start : start + 1000]).to_list()
    ]
    differ = [text for text, ours, right in zip(sentences, found, expected, strict=True) if ours != right]
    print(f"{len(sentences)} sentences compared, {len(differ)} differ")
    assert len(sentences) > 1000
    assert differ == []
