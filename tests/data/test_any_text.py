"""Whatever a corpus holds: as many samples as sentences, and each gives its sentence back."""

import tempfile
from collections import Counter
from pathlib import Path

import pytest
from data.record_oracles import config_for, read_examples, unmask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from text import reference_tokenizer

from chemkd_tf.data import slices
from chemkd_tf.data.samples import make_tokenizer
from chemkd_tf.data.shards import write_pretraining_data
from chemkd_tf.errors import InputError
from chemkd_tf.text.vocabulary import save_vocabulary, vocabulary_of

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIOS0123456789οδυσςευφιαΟΔΥΣΕ"
SINGLE = "的一是酸碱盐水化学反应温度压力聚氯乙烯，。！（）()[]·-+=%豈𠀀℃é가ㄱж№"
VOCABULARY = vocabulary_of(
    dict.fromkeys([*SINGLE, *LETTERS, *(f"##{letter}" for letter in LETTERS), "h2", "##so", "##℃", "na"])
)
IDS = {token: index for index, token in enumerate(VOCABULARY.tokens)}

CHINESE = ["化学反应", "聚氯乙烯", "的温度和压力", "酸", "碱。", "浓度，", "本公开提供一种制备方法", "𠀀豈", "（一）"]
LATIN_WORDS = [
    "sulfuric",
    "acid",
    "PVC",
    "pH",
    "Ångström",
    "ΟΔΥΣΣΕΥΣ",
    "σοφίας",
    "Σ",
    "İstanbul",
    "ß",
    "ﬁ",
    "abca" * 60,
]
FORMULAE = [
    "H2SO4",
    "Ca(OH)2",
    "CuSO4·5H2O",
    "[Fe(CN)6]4-",
    "15℃",
    "3.5mm",
    "1,2-二氯乙烷",
    "((a(a[b(",
    "①²½",
    "12345678901",
]
OTHERS = [
    "한국어",
    "각",
    "ᄀ",
    "😀",
    "👩\u200d🔬",
    "日本語です",
    "na\u0308\u0301",
    "\u0301",
    "\u302e",
    "жидкость",
    "\U000e0001",
]
BLANKS = [" ", "\t", "\u3000", "\xa0", "\r", "\u2028", "\u2029", "\x0b", "\x0c", "\x1c", "\x85"]
VANISHING = ["\ufeff", "\x00", "\u200b", "\u200d", "\u00ad", "\ufffd", "\x1b[0m", "\u202e", "\ue000", "\uffff"]
LINE_ENDS = ["\n"] * 6 + ["\r\n", "\n\n", "\r\n\r\n", "\n \u3000\n", "\n\x0b\n", "\n\u200b\n", "\n\ufeff\n", "\n\n\n"]

pieces = st.sampled_from([*CHINESE, *CHINESE, *LATIN_WORDS, *FORMULAE, *OTHERS, *BLANKS, *VANISHING])
any_text = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
few_words = st.text(st.sampled_from("酸碱a1"), min_size=1, max_size=5)
lines = few_words | few_words | st.lists(pieces | pieces | pieces | any_text, max_size=8).map("".join)


@st.composite
def texts(draw) -> str:
    """The content of a file: lines of anything, ends of lines of every kind, perhaps none behind the last."""
    parts = []
    for line in draw(st.lists(lines, max_size=12)):
        parts += [line, draw(st.sampled_from(LINE_ENDS))]
    return draw(st.sampled_from(["", "", "\ufeff"])) + "".join(parts[: len(parts) - draw(st.integers(0, 1))])


corpora = st.lists(texts(), min_size=1, max_size=3)
flags = st.fixed_dictionaries(
    {
        "do_whole_word_mask": st.booleans(),
        "do_lower_case": st.booleans(),
        "sample_mode": st.sampled_from(["sentence", "packed"]),
        "truncate_mode": st.sampled_from(["token_coin", "side_coin"]),
        "max_seq_length": st.sampled_from([3, 4, 5, 6, 7, 8, 10, 13, 16, 40, 128, 300]),
        "max_predictions_per_seq": st.sampled_from([1, 2, 4, 20, 130]),
        "masked_lm_prob": st.sampled_from([0.01, 0.15, 0.5, 0.99]),
        "num_shards": st.integers(0, 4),
        "random_seed": st.integers(-3, 3),
        "pad_records": st.booleans(),
    }
)


@pytest.fixture(scope="module", autouse=True)
def one_tokenizer_for_all_texts():
    """jieba takes most of a second to start; besides, what a tokeniser learnt from one text must not spoil another."""
    made = {}

    def remembered(config, vocabulary):
        key = (config.do_lower_case, config.do_whole_word_mask)
        if key not in made:
            made[key] = make_tokenizer(config, vocabulary)
        return made[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slices, "make_tokenizer", remembered)
        yield


def articles_of(files: list[str], do_lower_case: bool) -> list[list[list[int]]]:
    """Token ids of the sentences of each article; a blank line or the end of a file ends an article."""
    articles = []
    for text in files:
        articles.append([])
        for line in text.split("\n"):
            if not line.strip():
                articles.append([])
            tokens = reference_tokenizer.tokenize(line, IDS, do_lower_case)
            if tokens:
                articles[-1].append([IDS[token] for token in tokens])
    return articles


def pack(article: list[list[int]], budget: int) -> list[list[int]]:
    """Joins sentences as long as they fit."""
    samples: list[list[int]] = []
    for sentence in article:
        if samples and len(samples[-1]) + len(sentence) <= budget:
            samples[-1] = samples[-1] + sentence
        else:
            samples.append(sentence)
    return samples


def is_window(part: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    return any(whole[start : start + len(part)] == part for start in range(len(whole) - len(part) + 1))


def unpad(example: dict[str, list]) -> tuple[list[int], list[int]]:
    """What `unmask` returns, for a record without padding; and the masked positions."""
    ids, positions = list(example["input_ids"]), example["masked_lm_positions"]
    assert set(example) == {"input_ids", "masked_lm_positions", "masked_lm_ids"}
    assert ids[0] == VOCABULARY.start_id and ids[-1] == VOCABULARY.end_id
    assert positions == sorted(set(positions)) and all(0 < position < len(ids) - 1 for position in positions)
    for position, label in zip(positions, example["masked_lm_ids"], strict=True):
        ids[position] = label
    return ids[1:-1], positions


def check(files: list[str], values: dict) -> None:
    """Writes the records of a corpus and compares them with plain Python's."""
    dynamic = values["masking"] == "dynamic"
    budget = values["max_seq_length"] - 2
    articles = articles_of(files, values["do_lower_case"])
    expected = [
        tuple(sample)
        for article in articles
        for sample in (pack(article, budget) if values["sample_mode"] == "packed" else article)
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_vocabulary(VOCABULARY, str(folder / "vocab.txt"))
        for index, text in enumerate(files):
            (folder / f"{index}.corpus").write_bytes(text.encode("utf-8"))
        config = config_for(folder, input_file=f"{folder}/*.corpus", **values)
        if not expected:
            with pytest.raises(InputError, match="no text in|has a token"):
                write_pretraining_data(config)
            assert not list(folder.glob("P*"))
            return
        manifest = write_pretraining_data(config, block_bytes=64)
        examples = read_examples(config.output_file)
    passes = 1 if dynamic else config.dupe_factor
    assert len(examples) == manifest.num_samples == passes * len(expected)
    if dynamic:
        assert Counter(tuple(example["input_ids"]) for example in examples) == Counter(expected)
        names = {"input_ids", "word_lengths"} if config.do_whole_word_mask else {"input_ids"}
        for example in examples:
            assert set(example) == names
            lengths = example.get("word_lengths", [len(example["input_ids"])])
            assert sum(lengths) == len(example["input_ids"]) and min(lengths) > 0
        return
    found = []
    for example in examples:
        if config.pad_records:
            assert len(example["input_ids"]) == config.max_seq_length
            assert len(example["masked_lm_ids"]) == config.max_predictions_per_seq
            ids = unmask(example, VOCABULARY)
            predictions = int(sum(example["masked_lm_weights"]))
        else:
            ids, positions = unpad(example)
            predictions = len(positions)
        found.append(tuple(ids))
        # google-research/bert, create_masked_lm_predictions; a sample may have fewer tokens than predictions.
        most = min(config.max_predictions_per_seq, max(1, round((len(ids) + 2) * config.masked_lm_prob)), len(ids))
        assert predictions <= most if config.do_whole_word_mask else predictions == most
    whole = Counter(passes * [sample for sample in expected if len(sample) <= budget])
    cut = Counter(found)
    cut.subtract(whole)
    long = [sample for sample in expected if len(sample) > budget]
    assert all(count >= 0 for count in cut.values()), "a sentence that fits is missing"
    assert sum(cut.values()) == passes * len(long)
    for ids, count in cut.items():
        assert not count or (len(ids) == budget and any(is_window(ids, sample) for sample in long))


common = settings(
    deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
few = settings(common, max_examples=40, derandomize=True)
many = settings(common, max_examples=800, print_blob=True)
static = {"masking": st.just("static"), "dupe_factor": st.integers(1, 3)}
dynamic = {"masking": st.just("dynamic"), "dupe_factor": st.just(7)}


@few
@given(corpora, st.builds(dict.__or__, flags, st.fixed_dictionaries(static)))
def test_masked_records_of_any_text_give_the_text_back(files, values):
    check(files, values)


@few
@given(corpora, st.builds(dict.__or__, flags, st.fixed_dictionaries(dynamic)))
def test_unmasked_records_of_any_text_hold_the_text(files, values):
    check(files, values)


@pytest.mark.slow
@many
@given(corpora, st.builds(dict.__or__, flags, st.fixed_dictionaries(static)))
def test_masked_records_of_much_text_give_the_text_back(files, values):
    check(files, values)


@pytest.mark.slow
@many
@given(corpora, st.builds(dict.__or__, flags, st.fixed_dictionaries(dynamic)))
def test_unmasked_records_of_much_text_hold_the_text(files, values):
    check(files, values)
