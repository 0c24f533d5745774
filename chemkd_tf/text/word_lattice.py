"""jieba's words for a whole text at once, with NumPy.

jieba (version 0.42.1, https://github.com/fxsjy/jieba) works on stretches of ideographs, ASCII letters, digits and a few
signs. The words of its dictionary that are found in a stretch form a lattice; the best path through it has the largest
sum of log probabilities. Where the path takes several single characters in a row, a hidden Markov model with four
states (a word's beginning, middle, end, and a word of one character) joins them. jieba does so stretch by stretch,
character by character; here every step is taken in all stretches together.

The words are exactly jieba's. Paths of equal probability are common, as many words have the same small frequency, and
rounding decides between them: all sums are therefore taken in jieba's order, of the same logarithms.
"""

import dataclasses
import itertools
import math
import os
import re
import warnings
from collections.abc import Iterator, Mapping

import numpy as np

with warnings.catch_warnings():  # jieba 0.42 imports pkg_resources and holds unescaped patterns; both only warn.
    warnings.simplefilter("ignore")
    import jieba
    from jieba import finalseg

_WINDOW = 1 << 16  # Characters looked up together: few enough for the processor's cache.
_LONGEST_TOGETHER = 512  # Longer stretches are rare, and the longest one makes as many steps for all.
_DENSE = 4  # Longer words are rare: they are kept in lists, not in an array with a place for every character.
_NO_WORD = -np.inf

_IDEOGRAPHS = (0x4E00, 0x9FD5)  # To jieba; there are more.
_SIGNS = "+#&._%-"
# What the hidden Markov model leaves alone is parted by this.
_LATIN_WORD = re.compile(rb"[a-zA-Z0-9]+(?:\.[0-9]+)?%?")

_NUM_CODE_POINTS = 0x110000
_CODE_BITS = 21
_FREE = -1
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2^64 divided by the golden ratio (Knuth 6.4).

# States in the order B, M, E, S. Each can follow two others; jieba prefers the later letter if both are as probable.
_PREFERRED = np.array([3, 1, 1, 3])  # S before B, M before M, M before E, S before S.
_OTHER = np.array([2, 0, 0, 2])  # E before B, B before M, B before E, E before S.
_STATES = "BMES"
_BEGIN, _END, _SINGLE = 0, 2, 3


@dataclasses.dataclass(frozen=True)
class WordFrequencies:
    """A dictionary of V words and how often each was counted.

    Args:
        codes: uint32 [any], code points; the words stand somewhere in it.
        starts: int64 [V], where in `codes` each word starts.
        lengths: int64 [V], in characters.
        frequencies: int64 or, if any is larger, object [V]; positive; if a word is there twice, the later one counts.
        total: the sum that makes probabilities of frequencies.
    """

    codes: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    frequencies: np.ndarray
    total: int


def jieba_frequencies() -> WordFrequencies:
    """Reads the dictionary that comes with jieba: a word, its frequency and its tag, a line.

    jieba itself takes most of a second for it, and keeps it in a `dict` of 60 MB.
    """
    with open(os.path.join(os.path.dirname(jieba.__file__), jieba.DEFAULT_DICT_NAME), encoding="utf-8") as file:
        codes = _codes_of(file.read())
    spaces = np.flatnonzero(codes == ord(" "))
    ends, digit_ends = spaces[::2], spaces[1::2]
    starts = np.append(0, np.flatnonzero(codes == ord("\n"))[: len(ends) - 1] + 1)
    frequencies = np.zeros(len(ends), np.int64)
    for column in range(1, int((digit_ends - ends).max())):
        rows = np.flatnonzero(ends + column < digit_ends)
        frequencies[rows] = 10 * frequencies[rows] + codes[ends[rows] + column] - ord("0")
    return WordFrequencies(codes, starts, ends - starts, frequencies, int(frequencies.sum()))


def frequencies_of(counted: Mapping[str, int], total: int) -> WordFrequencies:
    """Takes over a tokeniser's dictionary (`jieba.Tokenizer.FREQ` and `.total`); what is never counted is no word."""
    met = {word: frequency for word, frequency in counted.items() if word and frequency}
    lengths = np.fromiter(map(len, met), np.int64, len(met))
    frequencies = np.array(list(met.values()))
    return WordFrequencies(_codes_of("".join(met)), np.cumsum(lengths) - lengths, lengths, frequencies, total)


class _Trie:
    """The words of a dictionary as a tree of characters, in a hash table with open addressing.

    A node is the number of its place in the table. The key of a node is its parent and its character, so that a look-up
    is exact: no text can be mistaken for a word.
    """

    def __init__(self, words: WordFrequencies):
        # A node for each prefix, of which there are half as many as characters: a quarter of the table is taken.
        bits = (2 * int(words.lengths.sum())).bit_length()
        self._shift = np.uint64(64 - bits)
        self._keys = np.full(1 << bits, _FREE, np.int64)
        # A few thousand frequencies serve all words, so that the logarithms stay in the cache.
        distinct, numbers = np.unique(words.frequencies, return_inverse=True)
        log_total = math.log(words.total)
        # As jieba computes them; NumPy's logarithm may differ in the last bit.
        self._weights = np.array([_NO_WORD, *(math.log(frequency) - log_total for frequency in distinct.tolist())])
        self._weight_of = np.zeros(1 << bits, np.min_scalar_type(len(distinct)))
        self._has_children = np.zeros(1 << bits, bool)
        self.unknown_weight = 0.0 - log_total  # jieba counts a character that is no word as one met once.
        self.longest = int(words.lengths.max())

        growing = np.arange(len(words.lengths))
        nodes = np.full(len(growing), -1)
        for depth in range(self.longest):
            for low in range(0, len(growing), _WINDOW):
                part = growing[low : low + _WINDOW]
                if depth:
                    self._has_children[nodes[part]] = True
                nodes[part] = self._insert(nodes[part], words.codes[words.starts[part] + depth])
            growing = growing[words.lengths[growing] > depth + 1]
        self._weight_of[nodes] = numbers + 1
        characters = np.arange(_IDEOGRAPHS[1] + 1)
        found, nodes = self._find(np.full(len(characters), -1), characters)
        self.character_weights = np.full(len(characters), _NO_WORD)
        self.character_weights[found] = self._weights[self._weight_of[nodes]]
        self._first = np.full(len(characters), -1)
        self._first[found] = np.where(self._has_children[nodes], nodes, -1)

    def longer_words(
        self, codes: np.ndarray, positions: np.ndarray, room: np.ndarray
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Finds the words of two characters and more that start at `positions`.

        Args:
            codes: uint32 [N], code points, those at `positions` up to 0x9FD5.
            positions: int64 [P], indices of `codes`.
            room: int64 [P], the longest word that may start there.

        Yields:
            From 2 on, a length, the indices of `positions` where words of this length start (int64, ascending), and the
            words' weights (float64): the logarithms of their probabilities.
        """
        nodes = self._first[codes[positions]]
        growing = np.flatnonzero((nodes >= 0) & (room > 1))
        nodes = nodes[growing]
        length = 1
        while len(growing):
            found, nodes = self._find(nodes, codes[positions[growing] + length])
            growing = growing[found]
            length += 1
            weight_of = self._weight_of[nodes]
            is_word = weight_of > 0
            yield length, growing[is_word], self._weights[weight_of[is_word]]
            grows = np.flatnonzero(self._has_children[nodes] & (room[growing] > length))
            growing, nodes = growing[grows], nodes[grows]

    def _slots(self, parents: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Keys of nodes (int64) and where to look for them first (int64)."""
        keys = ((parents + 1) << _CODE_BITS) | codes
        return keys, ((keys.view(np.uint64) * _MULTIPLIER) >> self._shift).view(np.int64)

    def _insert(self, parents: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Returns the nodes (int64) of children, equal ones among them; makes those that aren't there yet."""
        keys, slots = self._slots(parents, codes)
        nodes = np.empty_like(slots)
        homeless = np.arange(len(keys))
        while len(homeless):
            free = self._keys[slots] == _FREE
            self._keys[slots[free]] = keys[free]  # Of several keys for one place, one gets it.
            placed = self._keys[slots] == keys
            nodes[homeless[placed]] = slots[placed]
            homeless, keys = homeless[~placed], keys[~placed]
            slots = (slots[~placed] + 1) & (len(self._keys) - 1)
        return nodes

    def _find(self, parents: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns which of the parents have the child that is asked for (int64 indices), and these children (int64)."""
        keys, slots = self._slots(parents, codes)
        held = self._keys[slots]
        found = held == keys
        unsure = np.flatnonzero(~found & (held != _FREE))
        while len(unsure):
            slots[unsure] = (slots[unsure] + 1) & (len(self._keys) - 1)
            held = self._keys[slots[unsure]]
            found[unsure] = held == keys[unsure]
            unsure = unsure[(held != keys[unsure]) & (held != _FREE)]
        found = np.flatnonzero(found)
        return found, slots[found]


class WordLattice:
    """Finds jieba's words in texts of any length.

    Args:
        words: the dictionary.
    """

    def __init__(self, words: WordFrequencies):
        self._trie = _Trie(words)
        self._in_stretch = np.zeros(_NUM_CODE_POINTS, bool)
        self._in_stretch[_IDEOGRAPHS[0] : _IDEOGRAPHS[1] + 1] = True
        for first, last in ("az", "AZ", "09"):
            self._in_stretch[ord(first) : ord(last) + 1] = True
        self._in_stretch[list(map(ord, _SIGNS))] = True
        self._hidden = _HiddenMarkovModel()

    def word_starts(self, codes: np.ndarray, taken: list[tuple[int, int]]) -> np.ndarray:
        """Finds words as `jieba.cut` does.

        Args:
            codes: uint32 [N], code points.
            taken: starts and ends of what is a word anyway; jieba sees what is between, each by itself.

        Returns:
            bool [N], where words start.
        """
        in_stretch = self._in_stretch[codes]
        for start, end in taken:
            in_stretch[start:end] = False
        # Whatever is in no stretch is a word by itself, white space, too. A place more saves asking for the text's end.
        starts = np.append(~in_stretch, True)
        for start, end in taken:
            starts[start + 1 : end] = False
        firsts, ends = _runs(in_stretch)
        if len(firsts):
            self._follow_best_paths(codes, firsts, ends, starts)
            self._join_single_characters(codes, in_stretch, starts)
        return starts[:-1]

    def _follow_best_paths(self, codes: np.ndarray, firsts: np.ndarray, ends: np.ndarray, starts: np.ndarray) -> None:
        """Sets `starts` to the words of the dictionary that make the best paths through stretches."""
        # From each character, how far it is to the next word on the best path from there to the end of its stretch.
        steps = np.ones(len(codes), np.min_scalar_type(self._trie.longest))
        is_long = ends - firsts > _LONGEST_TOGETHER
        steps_here, starts_here = memoryview(steps), memoryview(starts)
        for position, end in zip(firsts[is_long].tolist(), ends[is_long].tolist(), strict=True):
            self._best_steps_of_long(codes, position, end, steps)
            while position < end:
                starts_here[position] = True
                position += steps_here[position]
        firsts, ends = firsts[~is_long], ends[~is_long]
        windows = np.cumsum(ends - firsts) // _WINDOW
        for group in np.split(np.arange(len(firsts)), np.flatnonzero(np.diff(windows)) + 1):
            self._best_steps(codes, firsts[group], ends[group], steps)
            position, end = firsts[group], ends[group]
            while len(position):
                starts[position] = True
                position = position + steps[position]
                inside = position < end
                position, end = position[inside], end[inside]

    def _best_steps(self, codes: np.ndarray, firsts: np.ndarray, ends: np.ndarray, steps: np.ndarray) -> None:
        """Finds best paths from the ends of S stretches to their starts, one character of all stretches at a time.

        Stretches are sorted, the longest first. Then those that have a character at a distance d from their end stand
        in one piece, and so, in the same order, do their characters at smaller distances: places of a route are
        numbered by distance, then by stretch, and a step has nothing to gather. Distance 0 is the end.
        """
        if not len(firsts):
            return
        lengths = ends - firsts
        order = np.argsort(-lengths, kind="stable")
        distances = np.arange(lengths.max() + 1)
        counts = np.searchsorted(-lengths[order], -distances, side="right")
        offsets = np.cumsum(counts) - counts
        distance = np.repeat(distances, counts)
        stretch = np.arange(len(distance)) - offsets[distance]
        position = ends[order][stretch] - distance

        num_ends = len(firsts)  # Places where no word starts.
        weights = np.full((_DENSE + 1, len(distance)), _NO_WORD)  # By length; no word has length 0.
        weights[1, num_ends:] = self._trie.character_weights[codes[position[num_ends:]]]
        is_unknown = weights[1] == _NO_WORD
        words, rare_words = [], []
        for length, found, found_weights in self._trie.longer_words(codes, position[num_ends:], distance[num_ends:]):
            places = found + num_ends
            is_unknown[places] = False
            words.append((length, places, found_weights))
            if length <= _DENSE:
                weights[length, places] = found_weights
            else:
                bounds = np.searchsorted(places, np.append(offsets, len(distance)))
                rare_words.append((length, places, found_weights, bounds.tolist()))
        weights[1, is_unknown] = self._trie.unknown_weight

        route = np.full(len(distance), _NO_WORD)
        route[:num_ends] = 0.0
        room = np.empty(num_ends)
        first_places = offsets.tolist()
        for far, (low, count) in enumerate(zip(first_places, counts.tolist(), strict=True)):
            if not far:
                continue
            best = route[low : low + count]
            for length in range(1, min(far, _DENSE) + 1):
                behind = first_places[far - length]
                sums = np.add(weights[length, low : low + count], route[behind : behind + count], out=room[:count])
                np.maximum(best, sums, out=best)
            for length, places, found_weights, bounds in rare_words:
                here = slice(bounds[far], bounds[far + 1])
                if here.start < here.stop:
                    chosen = places[here]
                    sums = found_weights[here] + route[chosen - low + first_places[far - length]]
                    route[chosen] = np.maximum(route[chosen], sums)
        # Of words that are equally good jieba takes the longest. The same sums once more are cheaper than choices kept.
        for length, places, found_weights in words:
            sums = found_weights + route[offsets[distance[places] - length] + stretch[places]]
            steps[position[places[sums == route[places]]]] = length

    def _best_steps_of_long(self, codes: np.ndarray, first: int, end: int, steps: np.ndarray) -> None:
        """Finds the best path from the end of one stretch to its start, a window at a time: it may be endless."""
        longest = self._trie.longest
        behind = [0.0] * longest  # The route behind the window.
        for low in reversed(range(first, end, _WINDOW)):
            places = np.arange(low, min(low + _WINDOW, end))
            character_weights = self._trie.character_weights[codes[places]]
            is_unknown = character_weights == _NO_WORD
            words = [(1, np.arange(len(places)), character_weights)]
            for length, found, weights in self._trie.longer_words(codes, places, end - places):
                is_unknown[found] = False
                words.append((length, found, weights))
            character_weights[is_unknown] = self._trie.unknown_weight
            places = np.concatenate([found for _, found, _ in words])
            lengths = np.repeat([length for length, _, _ in words], [len(found) for _, found, _ in words])
            weights = np.concatenate([weights for _, _, weights in words])
            order = np.argsort(-places, kind="stable")

            size = len(is_unknown)
            route = [_NO_WORD] * size + behind
            best = [1] * size
            for place, length, weight in zip(
                places[order].tolist(), lengths[order].tolist(), weights[order].tolist(), strict=True
            ):
                candidate = weight + route[place + length]
                if candidate >= route[place]:
                    route[place], best[place] = candidate, length
            steps[low : low + size] = best
            behind = route[:longest]

    def _join_single_characters(self, codes: np.ndarray, in_stretch: np.ndarray, starts: np.ndarray) -> None:
        """Finds words that are not in the dictionary, among characters that stand by themselves on the best path."""
        firsts, ends = _runs(starts[:-1] & starts[1:] & in_stretch)
        several = ends - firsts > 1
        firsts, ends = firsts[several], ends[several]
        # What is in the dictionary and not on the best path had better be parted.
        known = np.zeros(len(firsts), bool)
        for length, indices, _ in self._trie.longer_words(codes, firsts, ends - firsts):
            known[indices[(ends - firsts)[indices] == length]] = True
        firsts, ends = firsts[~known], ends[~known]
        if not len(firsts):
            return
        edges = np.zeros(len(codes), np.int8)
        edges[firsts] = 1
        edges[ends[ends < len(codes)]] -= 1
        joined = np.cumsum(edges, dtype=np.int8).astype(bool)
        starts[:-1][joined] = False

        is_ideograph = joined & (codes >= _IDEOGRAPHS[0])
        is_latin = joined & ~is_ideograph
        firsts, ends = _runs(is_latin)
        starts[firsts] = True
        if len(firsts):
            latin = np.where(is_latin, codes, ord("\n")).astype(np.uint8).tobytes()
            bounds = [bound for word in _LATIN_WORD.finditer(latin) for bound in word.span()]
            starts[bounds] = True
        self._hidden.mark_words(codes, *_runs(is_ideograph), starts)
        if finalseg.Force_Split_Words:
            all_starts = np.flatnonzero(starts)
            firsts = np.flatnonzero(is_ideograph & starts[:-1])
            ends = all_starts[np.searchsorted(all_starts, firsts) + 1]
            for first, end in zip(firsts.tolist(), ends.tolist(), strict=True):
                if codes[first:end].tobytes().decode("utf-32-le") in finalseg.Force_Split_Words:
                    starts[first:end] = True


class _HiddenMarkovModel:
    """jieba's model of words that are in no dictionary."""

    def __init__(self):
        first, last = _IDEOGRAPHS
        self._emissions = np.full((len(_STATES), last + 1 - first), finalseg.MIN_FLOAT)
        for row, state in zip(self._emissions, _STATES, strict=True):
            for character, probability in finalseg.emit_P[state].items():
                if first <= ord(character) <= last:
                    row[ord(character) - first] = probability
        self._initial = np.array([[finalseg.start_P[state]] for state in _STATES])
        self._from_preferred, self._from_other = (
            np.array([[finalseg.trans_P[_STATES[before]][state]] for before, state in zip(froms, _STATES, strict=True)])
            for froms in (_PREFERRED, _OTHER)
        )

    def mark_words(self, codes: np.ndarray, firsts: np.ndarray, ends: np.ndarray, starts: np.ndarray) -> None:
        """Sets `starts` where words start.

        Args:
            codes: uint32 [N], code points.
            firsts: int64 [R], where runs of ideographs start.
            ends: int64 [R], where they end.
            starts: bool [at least N], written between `firsts` and `ends`, where it is false.
        """
        starts[firsts] = True
        several = ends - firsts > 1
        firsts, ends = firsts[several], ends[several]
        if not len(firsts):
            return
        lengths = ends - firsts
        order = np.argsort(-lengths, kind="stable")  # Those that are not at their end yet stand in front.
        firsts, lengths = firsts[order], lengths[order]
        num_runs = np.searchsorted(-lengths, -np.arange(1, lengths[0] + 2), side="right").tolist()
        scores = self._initial + self._emissions[:, codes[firsts] - _IDEOGRAPHS[0]]
        states = np.empty(len(firsts), np.int64)
        takes_preferred = [np.empty((len(_STATES), 0), bool)]
        for step, (count, num_longer) in enumerate(itertools.pairwise(num_runs)):
            if step:
                # In jieba's order, for what is added last decides what is rounded away.
                emissions = self._emissions[:, codes[firsts[:count] + step] - _IDEOGRAPHS[0]]
                preferred = scores[_PREFERRED, :count] + self._from_preferred + emissions
                other = scores[_OTHER, :count] + self._from_other + emissions
                takes_preferred.append(preferred >= other)
                scores = np.maximum(preferred, other)
            ended = scores[:, num_longer:]
            states[num_longer:count] = np.where(ended[_SINGLE] >= ended[_END], _SINGLE, _END)
        for step in reversed(range(1, len(takes_preferred))):
            count = num_runs[step]
            state = states[:count]
            starts[firsts[:count][(state == _BEGIN) | (state == _SINGLE)] + step] = True
            takes = takes_preferred[step][state, np.arange(count)]
            states[:count] = np.where(takes, _PREFERRED[state], _OTHER[state])


def _runs(chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where runs of true values start and end (int64)."""
    edges = np.flatnonzero(np.diff(chosen, prepend=False, append=False))
    return edges[::2], edges[1::2]


def _codes_of(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le"), "<u4")
