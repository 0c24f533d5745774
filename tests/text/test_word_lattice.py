"""jieba itself says what is right: each text is cut by it, line by line."""

import logging
import random

import hypothesis
import hypothesis.strategies as st
import jieba
import numpy as np
import pytest
from jieba import finalseg

from chemkd_tf.text import word_lattice
from chemkd_tf.text.segmentation import WordSegmenter
from chemkd_tf.text.word_lattice import WordLattice, frequencies_of, jieba_frequencies

SENTENCES = [
    "将聚氯乙烯（PVC）树脂与邻苯二甲酸二辛酯按100:45的比例混合，在165℃下塑化15 min。",
    "2,4-二硝基氯苯与N,N-二甲基甲酰胺（DMF）反应，收率为92.5%。",
    "加入Ca(OH)2和CuSO4·5H2O，调节pH至7.0～7.5；[Fe(CN)6]4-离子",
    "废水中COD≤50mg/L、BOD5≤10mg/L，NH3-N<5 mg/L。",
    "\u3000\u3000本发明涉及一种催化剂的制备方法\t，尤其涉及\r一种负载型钯/碳催化剂。",
    "熟练使用C++、C#、Python3.8；AT&T的B超与T恤，IP地址192.168.1.1，100%_a.b.c.1.5.x",
    "工信处女干事每月经过下属科室都要亲口交代24口交换机等技术性器件的安装工作",
    "乒乓球拍卖完了，他来到了网易杭研大厦，结婚的和尚未结婚的，永和服装饰品有限公司",
    "鿀鿀酸氕氘氚钅𬭊䶮丂丄，李小福是创新办主任也是云计算方面的专家",
    "----....%%%___&&&+++###",
    "ａｂｃ１２３ é à한국어ひらがなカタカナ🧪🧪",
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    jieba.setLogLevel(logging.WARNING)
    tokenizer = jieba.Tokenizer()
    tokenizer.tmp_dir = str(tmp_path_factory.mktemp("jieba"))
    tokenizer.initialize()
    return tokenizer


@pytest.fixture(scope="module")
def lattice():
    return WordLattice(jieba_frequencies())


@pytest.fixture(scope="module")
def segmenter():
    return WordSegmenter()


@pytest.fixture
def small_windows(monkeypatch):
    """Stretches of more than 8 characters are long, and go through many windows."""
    monkeypatch.setattr(word_lattice, "_LONGEST_TOGETHER", 8)
    monkeypatch.setattr(word_lattice, "_WINDOW", 32)


def words_at(text: str, starts: np.ndarray) -> list[list[str]]:
    """The words of each line, cut where `starts` says; none may hold a line's end."""
    assert starts.shape == (len(text),) and starts.dtype == bool
    bounds = [*np.flatnonzero(starts).tolist(), len(text)]
    words = [text[start:end] for start, end in zip(bounds, bounds[1:], strict=False)]
    assert not any("\n" in word and word != "\n" for word in words)
    lines: list[list[str]] = [[]]
    for word in words:
        if word == "\n":
            lines.append([])
        else:
            lines[-1].append(word)
    return lines


def lattice_words(lattice: WordLattice, text: str) -> list[list[str]]:
    return words_at(text, lattice.word_starts(np.frombuffer(text.encode("utf-32-le"), "<u4"), []))


def jieba_words(tokenizer: jieba.Tokenizer, text: str) -> list[list[str]]:
    return [tokenizer.lcut(line) for line in text.split("\n")]


def random_text(seed: int, num_lines: int, tokens: list[str]) -> str:
    """Lines of up to 40 tokens, now and then none."""
    chosen = random.Random(seed)
    return "\n".join("".join(chosen.choices(tokens, k=chosen.randrange(41))) for _ in range(num_lines))


def frequent_tokens(tokenizer: jieba.Tokenizer) -> list[str]:
    """Characters and words that are met often, and everything that stands between them."""
    by_frequency = sorted(tokenizer.FREQ, key=tokenizer.FREQ.get, reverse=True)
    characters = [word for word in by_frequency[:4000] if len(word) == 1][:600]
    other = [*"abcxyzHNOCS0123456789", *"，。、；：（）()[]<>/·•-+#&._%~～℃ \t\r\u3000", "1.5", "c++", "T恤", "B超"]
    return characters + by_frequency[:300] + other * 3


def test_the_dictionary_is_what_jieba_reads(tokenizer):
    words = jieba_frequencies()
    text = words.codes.tobytes().decode("utf-32-le")
    ends = words.starts + words.lengths
    read = {
        text[start:end]: frequency
        for start, end, frequency in zip(words.starts.tolist(), ends.tolist(), words.frequencies.tolist(), strict=True)
    }
    assert read == {word: frequency for word, frequency in tokenizer.FREQ.items() if frequency}
    assert words.total == tokenizer.total


def test_sentences(tokenizer, lattice, segmenter):
    text = "\n".join(SENTENCES)
    assert lattice_words(lattice, text) == jieba_words(tokenizer, text)
    for variant in (text, text.lower(), "\n" + text, text + "\n\n"):
        assert words_at(variant, segmenter.word_starts(variant)) == [
            segmenter.words(line) for line in variant.split("\n")
        ]
    # Not one of the sentences is too easy.
    assert any("·" in word and len(word) > 5 for word in sum(words_at(text, segmenter.word_starts(text)), []))


@pytest.mark.parametrize("text", ["", "\n", "\n\n\n", " ", "\r", "酸", "a", "酸\n", "\ud800酸"])
def test_hardly_any_text(segmenter, text):
    assert words_at(text, segmenter.word_starts(text)) == [segmenter.words(line) for line in text.split("\n")]


def test_random_lines(tokenizer, lattice, segmenter):
    text = random_text(1, 2000, frequent_tokens(tokenizer))
    assert lattice_words(lattice, text) == jieba_words(tokenizer, text)
    assert words_at(text, segmenter.word_starts(text)) == [segmenter.words(line) for line in text.split("\n")]


def test_random_lines_in_small_windows(tokenizer, lattice, small_windows):
    text = random_text(2, 300, frequent_tokens(tokenizer))
    assert lattice_words(lattice, text) == jieba_words(tokenizer, text)


def test_characters_that_are_in_no_dictionary(tokenizer, lattice):
    text = random_text(3, 1000, [chr(code) for code in range(0x4DF0, 0x9FE0)])
    assert lattice_words(lattice, text) == jieba_words(tokenizer, text)


@pytest.mark.parametrize("small", [False, True])
def test_words_of_equal_probability(request, small):
    """Of small dictionaries with few frequencies: many paths are equally good, but for rounding."""
    if small:
        request.getfixturevalue("small_windows")
    chosen = random.Random(4)
    num_ties = 0
    for seed in range(40):
        tokenizer = jieba.Tokenizer()
        tokenizer.initialized = True
        for _ in range(chosen.randrange(1, 60)):
            word = "".join(chosen.choices("甲乙丙a", k=chosen.choice([1, 2, 2, 3, 3, 4, 5, 6, 7])))
            tokenizer.add_word(word, chosen.choice([1, 3, 3, 9]))
        text = random_text(seed, 50, [*"甲乙丙a", "甲乙丙a乙", "，"])
        expected = jieba_words(tokenizer, text)
        assert lattice_words(WordLattice(frequencies_of(tokenizer.FREQ, tokenizer.total)), text) == expected
        tokenizer.FREQ = {
            word: frequency and frequency + 1e-9 * len(word) for word, frequency in tokenizer.FREQ.items()
        }
        num_ties += sum(a != b for a, b in zip(jieba_words(tokenizer, text), expected, strict=True))
    assert num_ties > 100  # Lines that come out otherwise if frequencies change in the tenth digit.


def test_a_long_line_without_punctuation(tokenizer, lattice):
    characters = [token for token in frequent_tokens(tokenizer) if "\u4e00" <= token[0] <= "\u9fd5"]
    text = "".join(random.Random(5).choices(characters, k=60_000))
    assert len(text) > word_lattice._WINDOW
    assert lattice_words(lattice, text) == jieba_words(tokenizer, text)


def test_a_long_word_that_is_in_no_dictionary(tokenizer, lattice):
    text = "".join(random.Random(6).choices("丂丄丅丌丏丑専丠", k=2000)) + "ab" * 1000 + "的"
    assert lattice_words(lattice, text) == jieba_words(tokenizer, text)


def test_user_words(tmp_path, tokenizer):
    path = tmp_path / "words.txt"
    entries = [
        "聚氯乙烯树脂 5 n",
        "二甲基甲酰胺",
        "n,n-二甲基",
        "pvc树脂 3",
        "在下塑化 1000000000000000000000000000000 v",
        "𬭊酸",
        "的" * 300,
    ]
    path.write_text("\n".join([*entries, "# 7", "e\u0301"]), encoding="utf-8")
    segmenter = WordSegmenter(str(path), lambda word: word.replace("e\u0301", ""))
    tokens = [*"的n,-在下塑化酸ab12（）", "聚氯乙烯树脂", "二甲基甲酰胺", "n,n-二甲基", "pvc树脂", "𬭊酸", "在下塑化"]
    text = random_text(7, 300, tokens) + "\n" + "的" * 1000
    found = words_at(text, segmenter.word_starts(text))
    assert found == [segmenter.words(line) for line in text.split("\n")]
    assert found != jieba_words(tokenizer, text)
    assert {"聚氯乙烯树脂", "二甲基甲酰胺", "pvc树脂", "在下塑化", "的" * 300} <= {
        word for words in found for word in words
    }


def test_words_that_the_user_takes_away(tmp_path, tokenizer, monkeypatch):
    monkeypatch.setattr(finalseg, "Force_Split_Words", set())  # jieba keeps one for all its tokenisers.
    text = "\n".join([*SENTENCES, "他来到了网易杭研大厦", "温度的温度"])
    as_ever = jieba_words(tokenizer, text)
    path = tmp_path / "words.txt"
    path.write_text("杭研 0\n温度 0\n的 0\n催化剂 0\n", encoding="utf-8")
    segmenter = WordSegmenter(str(path))
    found = words_at(text, segmenter.word_starts(text))
    assert finalseg.Force_Split_Words == {"杭研", "温度", "的", "催化剂"}
    assert found == [segmenter.words(line) for line in text.split("\n")]
    assert "杭研" in sum(as_ever, []) and "杭研" not in sum(found, [])


@hypothesis.settings(max_examples=100, derandomize=True, deadline=None, database=None)
@hypothesis.given(
    st.text(
        st.one_of(st.characters(), st.sampled_from("的酸反应温度浓硫为(（)）[]·.-+#%&_aZ09 \r\n\u3000")), max_size=200
    )
)
def test_any_text(segmenter, text):
    assert words_at(text, segmenter.word_starts(text)) == [segmenter.words(line) for line in text.split("\n")]
