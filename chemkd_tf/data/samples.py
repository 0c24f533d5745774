"""A block of articles to samples: the paper's (section 3.1), or packed ones. Masks come later, see `masking`.

Sentence mode: exactly one sample per sentence and pass. A sentence is a line with at least one token; a line whose
every character vanishes in BERT's cleaning (control characters, lone accents) has none, makes no sample and is counted
as dropped. So a corpus gives dupe_factor x sentences samples.

Packed mode: consecutive sentences of one article are joined as long as they fit; a sentence that does not fit starts
the next sample.
"""

import dataclasses

import numpy as np

from chemkd_tf.config import PretrainingDataConfig
from chemkd_tf.text.block_tokenization import BlockTokenizer, normalize
from chemkd_tf.text.segmentation import WordSegmenter
from chemkd_tf.text.vocabulary import Vocabulary


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


@dataclasses.dataclass(frozen=True)
class Samples:
    """Unmasked samples without special tokens, all in a row (S samples, N tokens).

    Args:
        token_ids: unsigned integers [N].
        splits: int64 [S + 1], where each sample starts; the last is N.
        unit_starts: bool [N], which token starts a unit of whole-word masking; None without.
    """

    token_ids: np.ndarray
    splits: np.ndarray
    unit_starts: np.ndarray | None

    def __len__(self) -> int:
        return len(self.splits) - 1

    @property
    def lengths(self) -> np.ndarray:
        """int64 [S], tokens without specials."""
        return np.diff(self.splits)


def random_generator(seed: int, *key: int) -> np.random.Generator:
    """Random numbers that depend on `seed` and `key` alone, independent between keys."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed % (1 << 64), *key])))


def make_tokenizer(config: PretrainingDataConfig, vocabulary: Vocabulary) -> BlockTokenizer:
    """The tokeniser that the flags ask for.

    Raises:
        InputError: if --user_dictionary can't be read.
    """
    segmenter = None
    if config.do_whole_word_mask:
        segmenter = WordSegmenter(config.user_dictionary, normalize if config.do_lower_case else str)
    return BlockTokenizer(vocabulary, config.do_lower_case, segmenter)


def tokenize_block(tokenizer: BlockTokenizer, text: str) -> TokenizedBlock:
    """Tokenises the articles in `text`: lines that are sentences, blank ones between articles."""
    lines = tokenizer.tokenize(text)
    lengths = np.diff(lines.line_splits)
    kept = lengths > 0
    return TokenizedBlock(
        token_ids=lines.token_ids,
        splits=np.append(0, np.cumsum(lengths[kept])),
        articles=np.cumsum(lines.blank)[kept],
        unit_starts=lines.unit_starts,
        dropped_sentences=int((~kept & ~lines.blank).sum()),
    )


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
        New starts and ends, int64 [S].
    """
    excess = np.maximum(ends - starts - budget, 0)
    front = rng.binomial(excess, 0.5) if truncate_mode == "token_coin" else excess * rng.integers(0, 2, len(excess))
    return starts + front, ends - excess + front
