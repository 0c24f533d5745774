"""A block of articles to masked samples: the paper's samples (section 3.1), or packed ones.

Sentence mode: exactly one sample per sentence and pass. A sentence is a line with at least one token; a line whose
every character vanishes in BERT's cleaning (control characters, lone accents) has none, makes no sample and is counted
as dropped. So a corpus gives dupe_factor x sentences samples.

Packed mode: consecutive sentences of one article are joined as long as they fit; a sentence that does not fit starts
the next sample.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from chemkd_tf.config import PretrainingDataConfig
from chemkd_tf.data.blocks import Block, read_articles
from chemkd_tf.data.masking import MaskedSamples, mask_samples
from chemkd_tf.text.segmentation import WordSegmenter, continuation_flags, word_starts
from chemkd_tf.text.tokenization import BertTokenizer
from chemkd_tf.text.vocabulary import Vocabulary

SAMPLES_AT_ONCE = 8192  # Bounds memory where a block holds very many short lines. Random numbers depend on it.


@dataclasses.dataclass(frozen=True)
class TokenizedBlock:
    """The tokens of a block, all sentences in a row (n sentences, N tokens).

    Args:
        token_ids: int32 [N].
        splits: int64 [n + 1], where each sentence starts; the last is N.
        articles: int64 [n], which article each sentence belongs to, ascending.
        unit_starts: bool [N], which token starts a unit of whole-word masking; None without.
        dropped_sentences: lines with text but without a token.
    """

    token_ids: np.ndarray
    splits: np.ndarray
    articles: np.ndarray
    unit_starts: np.ndarray | None
    dropped_sentences: int

    @property
    def num_sentences(self) -> int:
        """n, the sentences with at least one token."""
        return len(self.articles)

    @property
    def num_articles(self) -> int:
        """Articles with at least one sentence."""
        return len(np.unique(self.articles))


def random_generator(seed: int, *key: int) -> np.random.Generator:
    """Random numbers that depend on `seed` and `key` alone, independent between keys (Philox)."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed % (1 << 64), *key])))


class SampleMaker:
    """Turns blocks into masked samples.

    Args:
        config: the flags of create_pretraining_data.
        vocabulary: the vocabulary that `config.vocab_file` names.
    """

    def __init__(self, config: PretrainingDataConfig, vocabulary: Vocabulary):
        self._config = config
        self._vocabulary = vocabulary
        self._tokenizer = BertTokenizer(vocabulary, config.do_lower_case)
        self._segmenter = WordSegmenter() if config.do_whole_word_mask else None
        self._continues = continuation_flags(vocabulary)

    def tokenize(self, block: Block) -> TokenizedBlock:
        """Reads and tokenises a block, all its sentences in one call.

        Raises:
            InputError: if the block's bytes are no longer UTF-8.
        """
        articles = read_articles(block)
        sentences = [sentence for article in articles for sentence in article]
        article_numbers = np.repeat(np.arange(len(articles)), [len(article) for article in articles])
        pieces, starts, ends, normalized = self._tokenizer.tokenize_with_offsets(tf.constant(sentences, tf.string))
        token_ids, lengths = pieces.flat_values.numpy(), pieces.row_lengths().numpy()
        unit_starts = None
        if self._segmenter:
            words = [self._segmenter.words(text.decode("utf-8")) for text in normalized.numpy()]
            unit_starts = word_starts(
                lengths, starts.flat_values.numpy(), ends.flat_values.numpy(), self._continues[token_ids], words
            )
        kept = lengths > 0
        return TokenizedBlock(
            token_ids=token_ids,
            splits=np.concatenate([[0], np.cumsum(lengths[kept])]).astype(np.int64),
            articles=article_numbers[kept],
            unit_starts=unit_starts,
            dropped_sentences=int((~kept).sum()),
        )

    def samples(self, tokens: TokenizedBlock, pass_index: int, block_index: int) -> Iterator[MaskedSamples]:
        """Makes the samples of one pass over one block.

        Args:
            tokens: the block.
            pass_index: r in 0..dupe_factor - 1.
            block_index: number of the block in the corpus; with the seed and the pass it fixes every random number.

        Yields:
            Masked samples, up to `SAMPLES_AT_ONCE` each, in the order of the text.
        """
        config = self._config
        rng = random_generator(config.random_seed, 0, pass_index, block_index)
        budget = config.max_seq_length - 2
        starts, ends = sample_windows(tokens, config.sample_mode, budget)
        for first in range(0, len(starts), SAMPLES_AT_ONCE):
            chunk = slice(first, first + SAMPLES_AT_ONCE)
            window_starts, lengths = cut_windows(starts[chunk], ends[chunk], budget, config.truncate_mode, rng)
            columns = np.arange(budget)
            inside = columns < lengths[:, None]
            sources = np.where(inside, window_starts[:, None] + columns, 0)
            yield mask_samples(
                self._with_specials(tokens.token_ids[sources], inside, lengths),
                lengths + 2,
                rng,
                mask_id=self._vocabulary.mask_id,
                vocabulary_size=self._vocabulary.size,
                masked_lm_prob=config.masked_lm_prob,
                max_predictions_per_seq=config.max_predictions_per_seq,
                unit_starts=None if tokens.unit_starts is None else tokens.unit_starts[sources] & inside,
            )

    def _with_specials(self, token_ids: np.ndarray, inside: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """`[CLS] tokens [SEP] [PAD]...`, int32 [S, max_seq_length], of tokens [S, max_seq_length - 2]."""
        input_ids = np.full((len(token_ids), self._config.max_seq_length), self._vocabulary.pad_id, np.int32)
        input_ids[:, 0] = self._vocabulary.start_id
        input_ids[:, 1:-1][inside] = token_ids[inside]
        input_ids[np.arange(len(token_ids)), lengths + 1] = self._vocabulary.end_id
        return input_ids


def sample_windows(tokens: TokenizedBlock, sample_mode: str, budget: int) -> tuple[np.ndarray, np.ndarray]:
    """Says which run of the block's tokens each sample is made of, before anything is cut.

    Args:
        tokens: the block.
        sample_mode: "sentence" or "packed".
        budget: most tokens of a sample, without specials.

    Returns:
        Start and end of each sample in `tokens.token_ids`, int64 [S]. In packed mode only a single sentence is longer
        than the budget.
    """
    starts, ends = tokens.splits[:-1], tokens.splits[1:]
    if sample_mode == "sentence":
        return starts, ends
    packed_starts, packed_ends = [], []
    previous_article = None
    for start, end, article in zip(starts.tolist(), ends.tolist(), tokens.articles.tolist(), strict=True):
        if article == previous_article and end - packed_starts[-1] <= budget:
            packed_ends[-1] = end
        else:
            packed_starts.append(start)
            packed_ends.append(end)
            previous_article = article
    return np.array(packed_starts, np.int64), np.array(packed_ends, np.int64)


def cut_windows(
    starts: np.ndarray, ends: np.ndarray, budget: int, truncate_mode: str, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Cuts what is too long at its front or its end (google-research/bert, truncate_seq_pair).

    Args:
        starts: int64 [S].
        ends: int64 [S].
        budget: most tokens that stay.
        truncate_mode: "token_coin": a fair coin for every token that must go, so the tokens lost in front follow
            Binomial(excess, 1/2), which is drawn at once. "side_coin": one fair coin for all of them.
        rng: source of the random numbers.

    Returns:
        New starts and lengths, int64 [S].
    """
    excess = np.maximum(ends - starts - budget, 0)
    front = rng.binomial(excess, 0.5) if truncate_mode == "token_coin" else excess * rng.integers(0, 2, len(excess))
    return starts + front, ends - starts - excess
