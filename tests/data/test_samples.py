import numpy as np
import pytest
from data.record_oracles import (
    VOCABULARY,
    config_for,
    ids_of,
    random_corpus,
    read_examples,
    write_corpus,
    write_vocabulary,
)

from chemkd_tf.data.samples import (
    TokenizedBlock,
    cut_windows,
    make_tokenizer,
    random_generator,
    sample_windows,
    tokenize_block,
)
from chemkd_tf.data.shards import make_plan, write_pretraining_data
from chemkd_tf.data.slices import SliceMaker


def block_of(sentence_lengths: list[int], articles: list[int]) -> TokenizedBlock:
    splits = np.concatenate([[0], np.cumsum(sentence_lengths)])
    return TokenizedBlock(np.arange(splits[-1], dtype=np.int32), splits, np.array(articles), None, 0)


def test_token_coin_loses_a_binomial_number_in_front():
    count, excess, budget = 40_000, 6, 10
    starts = np.arange(count) * 100
    new_starts, new_ends = cut_windows(starts, starts + budget + excess, budget, "token_coin", random_generator(1, 0))
    front = new_starts - starts
    assert (new_ends - new_starts == budget).all()
    for lost in range(excess + 1):
        share = [1, 6, 15, 20, 15, 6, 1][lost] / 64  # Binomial(6, 1/2)
        assert abs((front == lost).mean() - share) < 5 * (share * (1 - share) / count) ** 0.5


def test_side_coin_loses_all_in_front_or_all_behind():
    count, excess, budget = 10_000, 6, 10
    starts = np.zeros(count, np.int64)
    front, new_ends = cut_windows(starts, starts + budget + excess, budget, "side_coin", random_generator(1, 0))
    assert set(front.tolist()) == {0, excess} and (new_ends - front == budget).all()
    assert abs((front == 0).mean() - 0.5) < 5 * 0.5 / count**0.5


@pytest.mark.parametrize("mode", ["token_coin", "side_coin"])
def test_what_fits_is_not_cut(mode):
    starts, ends = np.array([0, 5, 9]), np.array([5, 9, 20])
    new_starts, new_ends = cut_windows(starts, ends, 11, mode, random_generator(1, 0))
    assert new_starts.tolist() == [0, 5, 9] and new_ends.tolist() == [5, 9, 20]


def test_packing_fills_up_within_an_article():
    block = block_of([3, 4, 3, 1, 5, 12, 2, 2], [0, 0, 0, 0, 1, 1, 1, 1])
    starts, ends = sample_windows(block, "packed", 10)
    #  3+4+3 = 10 | 1 | article | 5 | 12 (too long, alone) | 2+2
    assert list(zip(starts.tolist(), ends.tolist(), strict=True)) == [(0, 10), (10, 11), (11, 16), (16, 28), (28, 32)]
    starts, ends = sample_windows(block, "sentence", 10)
    assert (ends - starts).tolist() == [3, 4, 3, 1, 5, 12, 2, 2]


def test_random_numbers_depend_on_every_part_of_the_key():
    draws = {key: random_generator(*key).random() for key in [(1, 0, 0, 0), (2, 0, 0, 0), (1, 0, 1, 0), (1, 0, 0, 1)]}
    assert len(set(draws.values())) == 4
    assert random_generator(1, 0, 0, 0).random() == draws[1, 0, 0, 0]
    assert random_generator(-1, 0).random() != random_generator(1, 0).random()


def test_lines_without_a_token_are_dropped_and_counted(tmp_path):
    write_vocabulary(tmp_path)
    tokenizer = make_tokenizer(config_for(tmp_path), VOCABULARY)
    tokens = tokenize_block(tokenizer, "酸碱\r\n\u200b\n盐\n \u3000\n\u0301\n\n水")
    assert (tokens.num_sentences, tokens.dropped_sentences, tokens.num_articles) == (3, 2, 2)
    assert tokens.token_ids.tolist() == ids_of("酸碱盐水")
    assert tokens.splits.tolist() == [0, 2, 3, 4]
    assert tokens.articles[0] == tokens.articles[1] < tokens.articles[2]


def test_whole_words_are_masked_whole(tmp_path):
    write_vocabulary(tmp_path)
    sentence = "化学反应的温度和压力，甲醇的制备方法，123456加入。"
    write_corpus(tmp_path / "corpus.txt", [[sentence] * 50])

    def masked_positions(masked_lm_prob: float) -> tuple[list[str], list[set[int]]]:
        """The units of the sentence, and the masked positions of its 50 samples."""
        config = config_for(
            tmp_path,
            do_whole_word_mask=True,
            max_seq_length=64,
            max_predictions_per_seq=20,
            masked_lm_prob=masked_lm_prob,
            dupe_factor=1,
        )
        tokens = tokenize_block(make_tokenizer(config, VOCABULARY), sentence)
        units: list[str] = []
        for index in range(tokens.splits[1]):
            if tokens.unit_starts[index]:
                units.append("")
            units[-1] += VOCABULARY.tokens[tokens.token_ids[index]].removeprefix("##")
        write_pretraining_data(config)
        return units, [
            set(example["masked_lm_positions"][: int(sum(example["masked_lm_weights"]))])
            for example in read_examples(config.output_file)
        ]

    # 30 tokens with the specials: a budget of round(0.15 * 30) = 4, too little for the number's six pieces, or of 12.
    for masked_lm_prob, number_can_be_masked in ((0.15, False), (0.4, True)):
        units, samples = masked_positions(masked_lm_prob)
        assert "".join(units) == sentence and {"温度", "压力", "甲醇", "123456"} <= set(units)
        end = 1
        for unit in units:
            start, end = end, end + len(unit)
            overlaps = {len(positions & set(range(start, end))) for positions in samples}
            assert overlaps <= {0, len(unit)}
            if unit == "123456":
                assert overlaps == ({0, 6} if number_can_be_masked else {0})


def test_what_is_masked_at_once_is_bounded(tmp_path, monkeypatch):
    write_vocabulary(tmp_path)
    write_corpus(tmp_path / "corpus.txt", random_corpus(1, 10))
    plan = make_plan(config_for(tmp_path, num_shards=1))
    maker = SliceMaker(plan)
    (one,), counts = maker.slices((tmp_path / "corpus.txt").read_text(encoding="utf-8"), 0)
    monkeypatch.setattr("chemkd_tf.data.slices.TOKENS_AT_ONCE", 50)
    sizes = [count for count, _ in maker.shard_content(0, [one])]
    assert sum(sizes) == counts.samples and max(sizes) <= 50 and len(sizes) > 5
