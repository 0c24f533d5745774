"""Candidates for the words of a text: the teacher's, as far as they are words where they would stand."""

import hashlib
from collections import Counter
from collections.abc import Sequence

import keras
import numpy as np

from chemkd_tf.config import AugmentationConfig
from chemkd_tf.data.word_variants import SegmentedText
from chemkd_tf.errors import InputError
from chemkd_tf.models.checkpoints import Pretrained
from chemkd_tf.models.word_candidates import MaskedWord, WordCandidates
from chemkd_tf.text.block_tokenization import BlockTokenizer, normalize
from chemkd_tf.text.lexicon import Lexicon, SpelledWords, is_chinese
from chemkd_tf.text.protection import Protection
from chemkd_tf.text.segmentation import WordSegmenter
from chemkd_tf.text.vocabulary import Vocabulary
from chemkd_tf.text.worded_text import WordedText, word_texts

_PROPOSALS_PER_CANDIDATE = 3
_CONTEXT = 6  # Characters on either side that jieba sees of a candidate's neighbours.


class WordProposals:
    """Takes texts apart and finds what may replace their words.

    Args:
        config: the flags.
        teacher: the masked language model.
        vocabulary: the teacher's.
        lexicon: the words that may be proposed.
        protection: which words may change and be put in.
        segmenter: finds words.
    """

    def __init__(
        self,
        config: AugmentationConfig,
        teacher: Pretrained,
        vocabulary: Vocabulary,
        lexicon: Lexicon,
        protection: Protection,
        segmenter: WordSegmenter,
    ):
        self._config, self._vocabulary, self._lexicon = config, vocabulary, lexicon
        self._protection, self._segmenter = protection, segmenter
        self._tokenizer = BlockTokenizer(vocabulary, teacher.do_lower_case)
        self._candidates = WordCandidates(
            teacher.masked_lm,
            vocabulary,
            SpelledWords(filter(protection.may_be_put_in, lexicon.words()), lexicon, vocabulary),
            config.beam_width,
            config.least_likelihood,
            config.masked_lm_prob,
            config.batch_size,
        )

    def __call__(self, texts: Sequence[str]) -> list[tuple[SegmentedText, dict[int, list[str]]]]:
        """Returns for each text its words, and by the place of each word that has candidates those.

        Only words whose tokens are among the first --max_seq_length - 2 may change.
        """
        worded = word_texts(texts, self._segmenter, self._tokenizer)
        segmented = [self._segmented(text) for text in worded]
        rows: list[np.ndarray] = []
        masked: list[MaskedWord] = []
        places: list[tuple[int, int]] = []
        for number, (text, parts) in enumerate(zip(worded, segmented, strict=True)):
            ids = text.token_ids[: self._config.max_seq_length - 2]
            rows.append(np.concatenate([[self._vocabulary.start_id], ids, [self._vocabulary.end_id]]).astype(np.int32))
            for place in np.flatnonzero(parts.changeable).tolist():
                word = text.words[place]
                places.append((number, place))
                masked.append(MaskedWord(number, text.first_tokens[place] + 1, word, self._lexicon.class_of(word)))
        best = self._candidates.best(rows, masked, _PROPOSALS_PER_CANDIDATE * self._config.num_candidates)
        candidates = self._that_stay_words(worded, places, best)
        found: list[dict[int, list[str]]] = [{} for _ in texts]
        for (number, place), names in zip(places, candidates, strict=True):
            if names:
                # Sorted: then it does not matter which of two whose probabilities are all but equal comes first.
                found[number][place] = sorted(names[: self._config.num_candidates])
        return list(zip(segmented, found, strict=True))

    def _segmented(self, text: WordedText) -> SegmentedText:
        last = min(len(text.token_ids), self._config.max_seq_length - 2)
        is_read = [0 <= first <= last - len(word) for word, first in zip(text.words, text.first_tokens, strict=True)]
        changeable = self._protection.changeable(text.words)
        return SegmentedText(text.words, [read and free for read, free in zip(is_read, changeable, strict=True)])

    def _that_stay_words(
        self, texts: Sequence[WordedText], places: list[tuple[int, int]], proposals: list[list[str]]
    ) -> list[list[str]]:
        """Leaves out what jieba would join with a neighbour or part: 火 between 性 and 灾, say, is no word there."""
        lines, bounds = [], []
        for (number, place), names in zip(places, proposals, strict=True):
            words = texts[number].words
            before = "".join(words[max(0, place - 2) : place])[-_CONTEXT:].replace("\n", " ")
            after = "".join(words[place + 1 : place + 3])[:_CONTEXT].replace("\n", " ")
            lines += [before + name + after + " " for name in names]
            bounds += [(len(before), len(before) + len(name)) for name in names]
        if not lines:
            return proposals
        starts = self._segmenter.word_starts("\n".join(lines))
        kept, index, offset = [], 0, 0
        for names in proposals:
            kept.append([])
            for name in names:
                first, end = (offset + bound for bound in bounds[index])
                if starts[first] and starts[end] and not starts[first + 1 : end].any():
                    kept[-1].append(name)
                offset += len(lines[index]) + 1
                index += 1
        return kept


def fingerprint(model: keras.Model) -> str:
    """Returns the hexadecimal SHA-256 of a model's weights."""
    digest = hashlib.sha256()
    for variable in model.weights:
        digest.update(np.ascontiguousarray(variable.numpy()).data)
    return digest.hexdigest()


def require_known_characters(texts: Sequence[str], vocabulary: Vocabulary, vocabulary_file: str) -> None:
    """Refuses a vocabulary that lacks most of the texts' Chinese characters.

    Raises:
        InputError: more than half of them are [UNK]; names the most frequent.
    """
    counts = Counter(character for text in texts for character in text if is_chinese(character))
    known = set(vocabulary.tokens)
    unknown = {character: count for character, count in counts.items() if normalize(character) not in known}
    share = sum(unknown.values()) / max(1, counts.total())
    if share > 0.5:
        frequent = sorted(unknown, key=lambda character: (-unknown[character], character))[:5]
        raise InputError(
            f"{vocabulary_file}: no entry for {share:.0%} of the texts' Chinese characters ({' '.join(frequent)} ...); "
            "name another --teacher_dir, whose vocabulary has them"
        )
