"""What is random has the distribution it should have, from the corpus to the records that a trainer reads.

Bounds are five standard deviations; seeds are fixed. Records are parsed with tf.train.Example and un-masked by hand.
"""

import glob
import itertools
import logging
import math
from collections import Counter, defaultdict
from typing import NamedTuple

import jieba
import numpy as np
import pytest
import tensorflow as tf
from data.record_oracles import config_for
from text import reference_tokenizer

from chemkd_tf.data.shards import write_pretraining_data
from chemkd_tf.text.vocabulary import save_vocabulary, vocabulary_of

CHARACTERS = [chr(0x4E00 + index) for index in range(495)]
VOCABULARY = vocabulary_of(CHARACTERS)


def assert_share(count: int, total: int, share: float, what: object = "") -> None:
    """`count` of `total` is what independent draws of probability `share` may give."""
    assert abs(count - total * share) <= 5 * math.sqrt(total * share * (1 - share)), (what, count, total, share)


class Record(NamedTuple):
    """A record, un-masked."""

    shard: int
    tokens: tuple[int, ...]
    # By position among the tokens, from 0: what stands there now.
    masked: dict[int, int]


def write(folder, lines: list[str], vocabulary=VOCABULARY, **flags) -> list[Record]:
    """Writes the records of some sentences, each an article of its own, and reads them."""
    save_vocabulary(vocabulary, str(folder / "vocab.txt"))
    (folder / "corpus.txt").write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    config = config_for(folder, pad_records=False, **flags)
    write_pretraining_data(config, block_bytes=20_000)
    records = []
    for shard, path in enumerate(sorted(glob.glob(f"{config.output_file}-*-of-*"))):
        for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
            feature = tf.train.Example.FromString(record).features.feature
            ids = list(feature["input_ids"].int64_list.value)
            positions = feature["masked_lm_positions"].int64_list.value
            masked = {position - 1: ids[position] for position in positions}
            for position, label in zip(positions, feature["masked_lm_ids"].int64_list.value, strict=True):
                ids[position] = label
            records.append(Record(shard, tuple(ids[1:-1]), masked))
    return records


def sentence(rng: np.random.Generator, length: int) -> str:
    """A sentence of different characters."""
    return "".join(rng.choice(CHARACTERS, length, replace=False))


OFTEN = (2, 5, 12, 40, 126)


@pytest.fixture(scope="module")
def records(tmp_path_factory) -> list[Record]:
    """100 passes over sentences of every length that fits, some lengths twenty times."""
    rng = np.random.default_rng(51)
    lengths = [*range(1, 127), *(20 * OFTEN)]
    return write(
        tmp_path_factory.mktemp("records"),
        [sentence(rng, length) for length in lengths],
        max_seq_length=128,
        max_predictions_per_seq=20,
        dupe_factor=100,
        num_shards=7,
    )


def test_every_length_has_googles_number_of_masks(records):
    found = defaultdict(set)
    for record in records:
        found[len(record.tokens)].add(len(record.masked))
    # google-research/bert, create_masked_lm_predictions: of the tokens with [CLS] and [SEP].
    assert found == {length: {min(20, max(1, int(round((length + 2) * 0.15))))} for length in range(1, 127)}


def test_80_percent_of_the_masks_are_mask_10_percent_kept_10_percent_any_entry(records):
    outcomes = Counter()
    drawn = Counter()
    for record in records:
        for position, now in record.masked.items():
            is_kept = now == record.tokens[position]
            outcomes["mask" if now == VOCABULARY.mask_id else "kept" if is_kept else "random"] += 1
            if now != VOCABULARY.mask_id and not is_kept:
                drawn[now] += 1
    total = sum(outcomes.values())
    assert total >= 100_000
    one = 0.1 / VOCABULARY.size  # A random entry that is [MASK], or what stood there.
    for name, share in (("mask", 0.8 + one), ("kept", 0.1 + one), ("random", 0.1 - 2 * one)):
        assert_share(outcomes[name], total, share, name)
    # Special tokens, too; only [MASK] can't be told from a mask.
    for entry in set(range(VOCABULARY.size)) - {VOCABULARY.mask_id}:
        assert_share(drawn[entry], drawn.total(), 1 / (VOCABULARY.size - 1), entry)
    for first in range(0, VOCABULARY.size, 50):
        entries = set(range(first, first + 50)) - {VOCABULARY.mask_id}
        share = len(entries) / (VOCABULARY.size - 1)
        assert_share(sum(drawn[entry] for entry in entries), drawn.total(), share, entries)


def test_the_kind_of_a_mask_does_not_depend_on_where_it_is(records):
    kinds = defaultdict(Counter)
    for record in records:
        if len(record.tokens) == 126:
            for rank, position in enumerate(sorted(record.masked)):
                kinds[rank][record.masked[position] == VOCABULARY.mask_id] += 1
    assert len(kinds) == 19
    for rank, counts in kinds.items():
        assert_share(counts[True], counts.total(), 0.8 + 0.1 / VOCABULARY.size, rank)


@pytest.mark.parametrize("length", OFTEN)
def test_every_position_is_masked_equally_often(records, length):
    masked = Counter()
    samples = 0
    for record in records:
        if len(record.tokens) == length:
            samples += 1
            masked.update(record.masked.keys())
    share = max(1, int(round((length + 2) * 0.15))) / length
    assert samples == 2100 and set(masked) == set(range(length))
    for position in range(length):
        assert_share(masked[position], samples, share, position)


def test_every_pair_of_positions_is_masked_equally_often(records):
    pairs = Counter(tuple(sorted(record.masked)) for record in records if len(record.tokens) == 12)
    assert set(pairs) == set(itertools.combinations(range(12), 2))
    for pair, count in pairs.items():
        assert_share(count, pairs.total(), 1 / 66, pair)


def test_every_shard_gets_an_equal_share(records):
    shards = Counter(record.shard for record in records)
    assert set(shards) == set(range(7)) and shards.total() == 100 * (126 + 20 * len(OFTEN))
    for shard, count in shards.items():
        assert_share(count, shards.total(), 1 / 7, shard)


BUDGET, EXCESS = 14, 6


@pytest.mark.parametrize(("count", "passes"), [(4000, 1), (30, 100)])
@pytest.mark.parametrize("truncate_mode", ["token_coin", "side_coin"])
def test_windows_fall_as_the_coins_say(tmp_path, truncate_mode, count, passes):
    rng = np.random.default_rng(52)
    lines = [sentence(rng, BUDGET + EXCESS) for _ in range(count)]
    starts_of = defaultdict(list)
    for row, line in enumerate(lines):
        for start in range(EXCESS + 1):
            starts_of[tuple(VOCABULARY.id_of(c) for c in line[start : start + BUDGET])].append((row, start))
    found = Counter()
    starts_in = defaultdict(list)
    for record in write(tmp_path, lines, truncate_mode=truncate_mode, dupe_factor=passes, num_shards=3):
        ((row, start),) = starts_of[record.tokens]
        found[start] += 1
        starts_in[row].append(start)
    assert len(starts_in) == count and {len(starts) for starts in starts_in.values()} == {passes}
    if truncate_mode == "token_coin":
        expected = {start: math.comb(EXCESS, start) / 2**EXCESS for start in range(EXCESS + 1)}
    else:
        expected = {0: 0.5, EXCESS: 0.5}
    assert set(found) == set(expected)
    for start, share in expected.items():
        assert_share(found[start], found.total(), share, start)
    # Each sample has coins of its own: in one pass, neighbours agree by chance alone.
    if passes == 1:
        agree = sum(starts_in[row] == starts_in[row + 1] for row in range(0, count, 2))
        assert_share(agree, count // 2, sum(share**2 for share in expected.values()))


def test_two_passes_of_a_sentence_have_independent_masks_and_shards(tmp_path):
    rng = np.random.default_rng(53)
    lines = [sentence(rng, 12) for _ in range(3000)]
    by_text = defaultdict(list)
    for record in write(tmp_path, lines, dupe_factor=2, num_shards=4):
        by_text[record.tokens].append(record)
    assert len(by_text) == len(lines) and all(len(pair) == 2 for pair in by_text.values())
    common = Counter(len(one.masked.keys() & other.masked.keys()) for one, other in by_text.values())
    for size in range(3):  # Two of twelve, twice: hypergeometric.
        share = math.comb(2, size) * math.comb(10, 2 - size) / math.comb(12, 2)
        assert_share(common[size], len(lines), share, size)
    same_shard = sum(one.shard == other.shard for one, other in by_text.values())
    assert_share(same_shard, len(lines), 1 / 4)


def test_two_passes_of_a_sentence_have_independent_windows(tmp_path):
    rng = np.random.default_rng(54)
    lines = [sentence(rng, BUDGET + 1) for _ in range(3000)]
    by_window = {}
    starts = defaultdict(list)
    for line in lines:
        ids = tuple(VOCABULARY.id_of(character) for character in line)
        by_window[ids[:-1]], by_window[ids[1:]] = (line, 0), (line, 1)
    assert len(by_window) == 2 * len(lines)
    for record in write(tmp_path, lines, dupe_factor=2):
        line, start = by_window[record.tokens]
        starts[line].append(start)
    assert_share(sum(one == other for one, other in starts.values()), len(lines), 1 / 2)


# --- Whole words. ---

USER_WORDS = ["甲苯二异氰酸酯", "偶氮二异丁腈"]  # jieba alone parts both.
CHINESE = [
    "将甲苯二异氰酸酯缓慢滴加到反应釜中，搅拌均匀后升温。",
    "聚氯乙烯树脂的制备方法包括悬浮聚合和乳液聚合两种工艺。",
    "引发剂为偶氮二异丁腈，其用量为单体质量的百分之一。",
    "本发明公开了一种阻燃剂的制备方法，属于精细化工技术领域。",
    "危险化学品应当储存在专用仓库内，并由专人负责管理。",
    "过氧化苯甲酰和偶氮二异丁腈遇明火或高温会剧烈分解，甲苯二异氰酸酯有毒。",
]
# Words by hand, where letters and digits are.
BY_HAND = [
    "将 | 聚氯乙烯 | 与 | H2SO4 | 混合 | ， | 加热 | 至 | 15℃ | 。",
    "加入 | Ca(OH)2 | 溶液 | ， | 得到 | CuSO4·5H2O | 晶体 | 。",
    "在 | 105℃ | 下 | 搅拌 | 30 | 分钟 | ， | 得到 | PVC | 颗粒 | 。",
    "Sulfuric | acid | 用于 | 制备 | [Cu(NH3)4]SO4 | 。",
]
LATIN = "abcdefghijklmnopqrstuvwxyz0123456789"
WORD_VOCABULARY = vocabulary_of(
    dict.fromkeys(
        [*"".join(CHINESE), *(c for c in "".join(BY_HAND) if c not in " |" and not c.isupper()), *LATIN]
        + [*(f"##{c}" for c in LATIN), "##℃"]
    )
)
WORD_IDS = {token: index for index, token in enumerate(WORD_VOCABULARY.tokens)}


@pytest.fixture(scope="module")
def jieba_words(tmp_path_factory):
    """jieba itself: a function (text, whether it knows the user's words) to words."""
    jieba.setLogLevel(logging.WARNING)
    tokenizers = {}
    for with_user_words in (False, True):
        tokenizers[with_user_words] = jieba.Tokenizer()
        tokenizers[with_user_words].tmp_dir = str(tmp_path_factory.mktemp("jieba"))
        for word in USER_WORDS if with_user_words else ():
            tokenizers[with_user_words].add_word(word)
    return lambda text, with_user_words: tokenizers[with_user_words].lcut(text)


def spans(words: list[str]) -> tuple[tuple[int, ...], list[range]]:
    """Token ids of a sentence by the reference tokeniser, and which of them each word has."""
    ids: list[int] = []
    found = []
    for word in words:
        first = len(ids)
        ids += [WORD_IDS[piece] for piece in reference_tokenizer.tokenize(word, WORD_IDS)]
        found.append(range(first, len(ids)))
    assert WORD_VOCABULARY.unknown_id not in ids
    return tuple(ids), found


def assert_words_are_masked_whole(masked: dict[int, int], words: list[range], budget: int) -> None:
    """Google's rule: words in random order, one that does not fit any more is passed over."""
    assert len(masked) <= budget
    for word in words:
        inside = sum(place in masked for place in word)
        assert inside in (0, len(word)), word
        assert inside or len(masked) + len(word) > budget, "a word that still fits was left"


@pytest.fixture(scope="module")
def dictionary(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("dictionary") / "words.txt"
    path.write_text("".join(f"{word}\n" for word in USER_WORDS), encoding="utf-8")
    return str(path)


WHOLE_WORDS = {
    "vocabulary": WORD_VOCABULARY,
    "do_whole_word_mask": True,
    "max_seq_length": 64,
    "max_predictions_per_seq": 20,
    "masked_lm_prob": 0.5,
    "dupe_factor": 200,
    "num_shards": 2,
}


def test_words_of_jieba_and_of_the_user_are_never_split(tmp_path, dictionary, jieba_words):
    by_ids = {}
    for text in CHINESE:
        words = jieba_words(text, True)
        ids, places = spans(words)
        by_ids[ids] = (words, places)
    # jieba alone would part the user's words, so that the dictionary is needed.
    for word in USER_WORDS:
        assert not any(word in jieba_words(text, False) for text in CHINESE)
        assert any(word in words for words, _ in by_ids.values())
    for text in BY_HAND:
        words = text.split(" | ")
        ids, places = spans(words)
        by_ids[ids] = (words, places)
    lines = CHINESE + [line.replace("Sulfuric | acid", "Sulfuric acid").replace(" | ", "") for line in BY_HAND]
    masked_words = Counter()
    seen = Counter()
    for record in write(tmp_path, lines, user_dictionary=dictionary, **WHOLE_WORDS):
        words, places = by_ids[record.tokens]
        budget = min(20, max(1, int(round((len(record.tokens) + 2) * 0.5))))
        assert_words_are_masked_whole(record.masked, places, budget)
        masked_words.update(word for word, place in zip(words, places, strict=True) if place[0] in record.masked)
        seen[record.tokens] += 1
    assert set(seen.values()) == {200} and len(seen) == len(lines)
    # Each word of more than one token was masked now and then.
    for words, places in by_ids.values():
        for word, place in zip(words, places, strict=True):
            assert masked_words[word] > 10 or len(place) == 1, word


def test_what_a_cut_leaves_of_a_word_is_masked_whole(tmp_path, jieba_words):
    budget = 18
    by_window = {}
    for text in CHINESE:
        ids, words = spans(jieba_words(text, False))
        for start in range(len(ids) - budget + 1):
            window = range(start, start + budget)
            left = [range(max(word.start, start) - start, min(word.stop, start + budget) - start) for word in words]
            by_window[ids[start : start + budget]] = [word for word in left if word]
            assert sum(map(len, by_window[ids[start : start + budget]])) == len(window)
    flags = {**WHOLE_WORDS, "max_seq_length": budget + 2, "dupe_factor": 300}
    records = write(tmp_path, CHINESE, **flags)
    assert len(records) == 300 * len(CHINESE)
    for record in records:
        assert_words_are_masked_whole(record.masked, by_window[record.tokens], 10)


def test_without_the_users_dictionary_the_words_are_those_of_jieba_alone(tmp_path, jieba_words):
    by_ids = {}
    for text in CHINESE:
        words = jieba_words(text, False)
        by_ids[spans(words)[0]] = (spans(words)[1], spans(jieba_words(text, True))[1])
    split = 0
    for record in write(tmp_path, CHINESE, **WHOLE_WORDS):
        places, users_places = by_ids[record.tokens]
        budget = min(20, max(1, int(round((len(record.tokens) + 2) * 0.5))))
        assert_words_are_masked_whole(record.masked, places, budget)
        split += any(0 < sum(place in record.masked for place in word) < len(word) for word in users_places)
    assert split > 100
