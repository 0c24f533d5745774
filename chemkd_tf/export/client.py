"""Classifies texts with an exported model: one file, for those who have neither chemkd_tf nor TensorFlow.

It lies beside every exported .onnx and .tflite and needs numpy and the model's runtime (onnxruntime, ai-edge-litert):

    from client import Classifier

    classifier = Classifier("int8.onnx")
    print(classifier.classify(["负责反应釜的检修"]))
    print(classifier.labels, classifier(["负责反应釜的检修"]))
"""

import itertools
import json
import os
import re
import threading
import time
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

_LONGEST_WORD = 200  # characters; a longer word is [UNK]
_LONGEST_KEPT = 64  # characters; what is longer hardly comes twice
_MOST_KEPT = 1 << 16  # numbers and codes never end: the cache starts anew when it holds so many
_IDEOGRAPHS = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)
_COMMON_IDEOGRAPHS = re.compile("([\u4e00-\u9fff]+)")  # no case, no accents: each is a token, or unknown
# Places where a text may be cut in two without parting a word.
_BOUNDARY = re.compile("[ \t\n\r\u3000\u4e00-\u9fff]")
_CHARACTERS_AT_ONCE = 1024
_LAST_ALONE = 0xFFFF  # of the code points that are looked for in a table
_NOT_ALONE = -1
_CHARACTERS_PER_TOKEN = 2  # more than nearly all texts have: of a long one, what is cut off need not be read
Batch = Any  # whatever `prepare` takes
Prepare = Callable[[Sequence[Batch]], list[np.ndarray]]
_MOST_COPIED = 64 << 20  # bytes of a model and its copies
_TEXTS_AT_ONCE = 1024
DIRECTIONS = ("forward", "backward")
_LEAST_SHARED = 64  # tokens; a shorter text is classified before a second thread has woken up
_STILL_AWAKE = 0.002  # seconds; after a longer pause, to wake a second thread takes more than it gives
_SHORT_NAPS = 1000  # some milliseconds; whoever waits longer, waits for the processor


class Tokenizer:
    """Strings to token ids, equal to google-research/bert's FullTokenizer (tokenization.py).

    Its Unicode tables are Python's, as Google's are. What was met before is looked up; two threads may share a
    tokeniser.

    Args:
        tokens: the vocabulary; an entry's position is its id.
        do_lower_case: lower-case and strip accents, as the model was trained.
    """

    def __init__(self, tokens: Sequence[str], do_lower_case: bool = True):
        self._spaced = _SpacedCharacters()
        self._chunks, self._stretches = _Cache(_Words(tokens, do_lower_case)), _Cache(self._tokenize_stretch)
        self._id_of_ideograph = _Ideographs(tokens).__getitem__
        self._ids_alone = _ids_alone(tokens)
        self._start_id, self._end_id = tokens.index("[CLS]"), tokens.index("[SEP]")

    def tokenize(self, text: str | bytes, most: int | None = None) -> list[int]:
        """Returns the token ids of a text, without special tokens.

        Args:
            text: a string, or bytes meant as UTF-8: undecodable ones are passed over.
            most: no more tokens than that; of a long text, only its beginning is read then.
        """
        text = text.decode("utf-8", "ignore") if isinstance(text, bytes) else text
        stretches, ids, start = self._stretches, [], 0
        at_once = _CHARACTERS_AT_ONCE if most is None else min(_CHARACTERS_AT_ONCE, _CHARACTERS_PER_TOKEN * most + 1)
        while start < len(text) and (most is None or len(ids) < most):
            boundary = _BOUNDARY.search(text, start + at_once)
            end = boundary.start() if boundary else len(text)
            others_and_ideographs = _COMMON_IDEOGRAPHS.split(text[start:end])  # in turn; none, one or more of others
            for number, part in enumerate(others_and_ideographs):
                if number % 2:
                    ids += map(self._id_of_ideograph, part)
                elif part:
                    ids += stretches[part]
            start = end
        return ids if most is None else ids[:most]

    def _tokenize_stretch(self, stretch: str) -> list[int]:
        """What stands between two common ideographs: often a punctuation mark, sometimes pages of another script."""
        return [index for chunk in stretch.translate(self._spaced).split() for index in self._chunks[chunk]]

    def encode(self, text: str | bytes, max_seq_length: int) -> list[int]:
        """Returns `[CLS] ids... [SEP]`, cut at the end to `max_seq_length` tokens."""
        return [self._start_id, *self.tokenize(text, max_seq_length - 2), self._end_id]

    def encode_all(
        self, batches: Sequence[Sequence[str | bytes]], max_seq_length: int, pad_id: int
    ) -> list[np.ndarray]:
        """`encode` of many texts, sooner than one by one.

        Args:
            batches: of texts, none empty.
            max_seq_length: as of `encode`.
            pad_id: what shorter rows are filled with, on the right.

        Returns:
            For each batch int32 `[B, T]`, T of its longest row.
        """
        rows, found = iter(self._tokenize_all([text for batch in batches for text in batch], max_seq_length - 2)), []
        for batch in batches:
            of_batch = list(itertools.islice(rows, len(batch)))
            encoded = np.full((len(batch), max(map(len, of_batch)) + 2), pad_id, np.int32)
            encoded[:, 0] = self._start_id
            for target, row in zip(encoded, of_batch, strict=True):
                target[1 : len(row) + 1] = row
                target[len(row) + 1] = self._end_id
            found.append(encoded)
        return found

    def _tokenize_all(self, texts: Sequence[str | bytes], most: int) -> list[Sequence[int]]:
        """`tokenize` of each."""
        texts = [text.decode("utf-8", "ignore") if isinstance(text, bytes) else text for text in texts]
        beginnings = [_beginning(text, _CHARACTERS_PER_TOKEN * most + 1) for text in texts]
        all_ids, ends = self._tokenize_joined(beginnings)
        rows, start = [], 0
        for text, beginning, end in zip(texts, beginnings, ends, strict=True):
            row = all_ids[start : min(end, start + most)]
            rows.append(self.tokenize(text, most) if len(row) < most and len(beginning) < len(text) else row)
            start = end
        return rows

    def _tokenize_joined(self, texts: Sequence[str]) -> tuple[np.ndarray, list[int]]:
        """Returns the ids of all texts in turn, int32, and where each text's end.

        What stands alone is looked up in one go for all texts; what is between, a stretch at a time.
        """
        joined, text_ends = "".join(texts), np.cumsum([len(text) for text in texts])
        codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32)
        ids = self._ids_alone.take(codes, mode="clip")
        in_stretch = ids == _NOT_ALONE
        is_bound = np.ones(len(ids) + 1, bool)
        is_bound[1:-1] = in_stretch[1:] != in_stretch[:-1]
        is_bound[text_ends] = True
        bounds = np.flatnonzero(is_bound)
        of_stretches = np.flatnonzero(in_stretch[bounds[:-1]])
        starts, ends = bounds[of_stretches], bounds[of_stretches + 1]
        found = [self._stretches[joined[start:end]] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
        # Each character becomes so many ids: 1 where it stands alone; all of a stretch at its first, then none.
        counts = np.where(in_stretch, 0, 1)
        counts[starts] = [len(stretch) for stretch in found]
        ids = np.repeat(ids, counts)
        ids[ids == _NOT_ALONE] = [index for stretch in found for index in stretch]
        return ids, np.concatenate([[0], np.cumsum(counts)])[text_ends].tolist()


def _beginning(text: str, num_characters: int) -> str:
    """So many characters of a text, and those up to a place where it may be cut."""
    boundary = _BOUNDARY.search(text, num_characters)
    return text[: boundary.start()] if boundary else text


def _ids_alone(tokens: Sequence[str]) -> np.ndarray:
    """The token ids of the characters that stand alone, by code point; the last is for all code points beyond."""
    ids = np.full(_LAST_ALONE + 2, _NOT_ALONE, np.int32)
    ids[0x4E00:0xA000] = tokens.index("[UNK]")
    for index, token in enumerate(tokens):
        if len(token) == 1 and ord(token) <= _LAST_ALONE and _stands_alone(token):
            ids[ord(token)] = index
    return ids


def _stands_alone(character: str) -> bool:
    """Whether it is a token whatever stands beside it: a common ideograph, or a punctuation mark.

    Not a mark that becomes another one, and not one that Python, which writes the end of a word with another sigma,
    looks past for that end.
    """
    if _COMMON_IDEOGRAPHS.match(character):
        return True
    is_kept = _is_punctuation(character) and _without_accents(character.lower()) == character
    return is_kept and f"ΑΣ{character}Α".lower()[1] == "ς"


class _Ideographs(dict):
    """The token ids of single characters, by character."""

    def __init__(self, tokens: Sequence[str]):
        super().__init__((token, index) for index, token in enumerate(tokens) if len(token) == 1)
        self._unknown = tokens.index("[UNK]")

    def __missing__(self, character: str) -> int:
        return self._unknown


class _SpacedCharacters(dict):
    """For `str.translate`: control characters vanish, white space is a space, ideographs stand between spaces."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        category = unicodedata.category(character)
        if character in "\t\n\r" or category == "Zs":
            found = " "
        elif category in ("Cc", "Cf", "Cs") or character == "\ufffd":  # Cs: half a character, which no UTF-8 holds
            found = ""
        elif any(first <= code <= last for first, last in _IDEOGRAPHS):
            found = f" {character} "
        else:
            found = character
        self[code] = found
        return found


class _Cache(dict):
    """Token ids by text, worked out when the text is first met."""

    def __init__(self, work_out: Callable[[str], list[int]]):
        super().__init__()
        self._work_out = work_out

    def __missing__(self, text: str) -> list[int]:
        # Not through `self[...]`: another thread may empty the cache at any time.
        ids = self._work_out(text)
        if len(text) <= _LONGEST_KEPT:
            if len(self) >= _MOST_KEPT:
                self.clear()
            self[text] = ids
        return ids


class _Words:
    """What stands between two spaces, to token ids."""

    def __init__(self, tokens: Sequence[str], do_lower_case: bool):
        self._ids = {token: index for index, token in enumerate(tokens)}
        self._longest_entry = max(map(len, tokens))
        self._unknown = [self._ids["[UNK]"]]
        self._do_lower_case = do_lower_case

    def __call__(self, chunk: str) -> list[int]:
        normalized = _without_accents(chunk.lower()) if self._do_lower_case else chunk
        return [index for word in _words(normalized) for index in self._pieces(word)]

    def _pieces(self, word: str) -> list[int]:
        """Greedily the longest entry first; a word that can't be matched to its end is [UNK]."""
        if len(word) > _LONGEST_WORD:
            return self._unknown
        ids, start = [], 0
        while start < len(word):
            prefix = "##" if start else ""
            for end in range(min(len(word), start + self._longest_entry), start, -1):
                index = self._ids.get(prefix + word[start:end])
                if index is not None:
                    ids.append(index)
                    start = end
                    break
            else:
                return self._unknown
        return ids


def _without_accents(text: str) -> str:
    decomposed = unicodedata.normalize("NFD", text)
    return "".join(character for character in decomposed if unicodedata.category(character) != "Mn")


def _words(chunk: str) -> Iterator[str]:
    """Parts a chunk at its punctuation, each mark a word; some characters decompose into white space."""
    spaced = (f" {character} " if _is_punctuation(character) else character for character in chunk)
    return iter("".join(spaced).split())


def _is_punctuation(character: str) -> bool:
    """Category P, and every ASCII symbol."""
    if character.isascii():
        return character.isprintable() and not character.isalnum() and character != " "
    return unicodedata.category(character)[0] == "P"


class OnnxModel:
    """An .onnx in ONNX Runtime; threads may share it.

    A single text of some length is shared by two threads, where the model's pieces lie beside it (student's). Of many
    texts, each core takes rows of its own and waits for no other. A small model is in memory several times for that.

    Args:
        path: the model.
        num_threads: cores to use; 0: all of them. 1 is right where many threads ask.
    """

    def __init__(self, path: str, num_threads: int):
        self._num_threads = num_threads or os.cpu_count() or 1
        self._by_rows, self._pieces = [], None
        if self._num_threads > 1 and os.path.getsize(path) <= _MOST_COPIED:
            self._threads, self._caller_runs = ThreadPoolExecutor(self._num_threads), threading.Lock()
            # A session's memory goes to any core that runs it, and has to be fetched from the one before: one for each.
            num_sessions = min(self._num_threads, _MOST_COPIED // max(os.path.getsize(path), 1))
            self._by_rows = [_onnx_session(path, 1) for _ in range(num_sessions)]
            if os.path.isfile(pieces_of(path)):
                self._pieces = _Pieces(path)
        # Its threads spin for a while when a call has ended: none are kept beside the pieces.
        self._together = self._by_rows[0] if self._pieces else _onnx_session(path, self._num_threads)

    def rows_at_once(self, num_rows: int) -> int:
        """Rows of a batch where so many wait: more gain nothing, and short texts wait for long ones."""
        return min(16, -(-num_rows // self._num_threads) if self._by_rows else num_rows)

    def __call__(self, batches: Sequence[Batch], prepare: Prepare) -> list[np.ndarray]:
        """Maps each batch, `prepare`d to int32 `[B, T]`, to float32 `[B, C]`.

        The caller prepares them, one for each thread at a time and not far ahead, as Python works for a single thread
        anyway; it takes the last one itself, for it is awake, if no other caller is at that.
        """
        if not self._by_rows or len(batches) < 2:
            return [self._answer(token_ids) for batch in batches for token_ids in prepare([batch])]
        running = []
        for start in range(0, len(batches), self._num_threads):
            if running[: -self._num_threads]:
                running[-self._num_threads - 1].result()
            for token_ids in prepare(batches[start : start + self._num_threads]):
                session = self._by_rows[len(running) % len(self._by_rows)]
                is_last = len(running) == len(batches) - 1
                running.append((self._submit_here if is_last else self._threads.submit)(_run, session, token_ids))
        return [batch.result() for batch in running]

    def _submit_here(self, run: Callable, *arguments) -> Future:
        """As `submit` of the threads, but in this one, unless another caller does so."""
        if not self._caller_runs.acquire(blocking=False):
            return self._threads.submit(run, *arguments)
        try:
            found = Future()
            found.set_result(run(*arguments))
            return found
        finally:
            self._caller_runs.release()

    def _answer(self, token_ids: np.ndarray) -> np.ndarray:
        if self._pieces is None:
            return _run(self._together, token_ids)
        found = self._pieces(token_ids)
        if found is None:
            found = _run(self._together, token_ids)
        self._pieces.last_used = time.monotonic()
        return found


class _Pieces:
    """A BiLSTM by its directions: a thread for each, which meet at the end of every layer."""

    def __init__(self, path: str):
        with zipfile.ZipFile(pieces_of(path)) as pieces:
            if pieces.comment != checksum(path):
                raise ValueError(f"{pieces.filename} belongs to another model: delete it")
            sessions = {name: _onnx_session(pieces.read(name), 1, os.path.dirname(path)) for name in pieces.namelist()}
        self._head = sessions.pop("head")
        self._directions, self._num_layers = sessions, len(sessions) // len(DIRECTIONS)
        # A thread of its own: in a pool with others a text would wait behind their batches.
        self._backward, self._is_busy = ThreadPoolExecutor(1), threading.Lock()
        self.last_used = -_STILL_AWAKE

    def __call__(self, token_ids: np.ndarray) -> np.ndarray | None:
        """Maps one text, int32 `[1, T]` without padding, to float32 `[1, C]`.

        None where it would gain nothing: several texts, a short one, a pause before it, or another caller has the
        threads.
        """
        is_worth_it = len(token_ids) == 1 and token_ids.shape[1] >= _LEAST_SHARED
        is_awake = time.monotonic() - self.last_used <= _STILL_AWAKE
        if not (is_worth_it and is_awake and self._is_busy.acquire(blocking=False)):
            return None
        try:
            layers = [{} for _ in range(self._num_layers)]
            backward = self._backward.submit(self._run, "backward", token_ids, layers)
            self._run("forward", token_ids, layers)
            backward.result()
        finally:
            self._is_busy.release()
        return self._head.run(None, layers[-1])[0]

    def _run(self, direction: str, token_ids: np.ndarray, layers: list[dict[str, Any]]) -> None:
        """Puts the direction's states into each of `layers`; an exception goes to whoever waits for it as well."""
        given = {"token_ids": token_ids}
        try:
            for number, states in enumerate(layers):
                states[direction] = self._directions[f"{direction}_{number + 1}"].run(None, given)[0]
                given = _complete(states)
        except BaseException as error:
            for states in layers:
                states.setdefault(direction, error)
            raise


def _complete(states: dict[str, Any]) -> dict[str, Any]:
    """Waits for both directions, awake: they need about the same time, and to be woken takes as long as a layer."""
    naps = 0
    while len(states) < len(DIRECTIONS):
        time.sleep(0 if naps < _SHORT_NAPS else 1e-4)
        naps += 1
    for each in states.values():
        if isinstance(each, BaseException):
            raise each
    return states


def pieces_of(path: str) -> str:
    """Where the pieces of the model at `path` are: graphs whose weights are bytes of the model."""
    return f"{os.path.splitext(path)[0]}.two_threads.zip"


def checksum(path: str) -> bytes:
    """By which the pieces know their model."""
    value = 0
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            value = zlib.crc32(block, value)
    return b"%08x" % value


def _onnx_session(model: str | bytes, num_threads: int, weights_folder: str = ""):
    """A session on a file, or on the content of one whose weights are elsewhere."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    if weights_folder:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", weights_folder)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _run(session, token_ids: np.ndarray) -> np.ndarray:
    return session.run(None, {"token_ids": token_ids})[0]


class LiteRtModel:
    """A .tflite in LiteRT; each thread needs its own.

    Args:
        path: the model.
        num_threads: cores to use; 0: one. Its products are too small to be worth sharing.
    """

    def __init__(self, path: str, num_threads: int):
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(model_path=path, num_threads=num_threads or 1)
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]
        self._shape = None

    def rows_at_once(self, num_rows: int) -> int:
        """One: its graph takes one text, of any length."""
        return 1

    def __call__(self, batches: Sequence[Batch], prepare: Prepare) -> list[np.ndarray]:
        """Maps each batch, `prepare`d to int32 `[1, T]`, to float32 `[1, C]`."""
        return [self._answer(token_ids) for batch in batches for token_ids in prepare([batch])]

    def _answer(self, token_ids: np.ndarray) -> np.ndarray:
        if token_ids.shape != self._shape:
            self._interpreter.resize_tensor_input(self._input, token_ids.shape)
            self._interpreter.allocate_tensors()
            self._shape = token_ids.shape
        self._interpreter.set_tensor(self._input, token_ids)
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output)


RUNTIMES = {".onnx": OnnxModel, ".tflite": LiteRtModel}


class Classifier:
    """An exported classifier: strings in, probabilities out.

    With an .onnx, threads may share it; with a .tflite each thread needs its own.

    Args:
        model_path: the .onnx or .tflite; artefact.json and the vocabulary lie beside it.
        num_threads: cores to use; 0: as many as serve, which is all for an .onnx and one for a .tflite.

    Attributes:
        labels: name of each class, in the order of the probabilities.
        description: what artefact.json says.
        tokenizer: the model's.

    Raises:
        ValueError: another kind of file.
        FileNotFoundError: no model there, or not what belongs beside it.
        ModuleNotFoundError: the model's runtime is not installed.
    """

    def __init__(self, model_path: str, num_threads: int = 0):
        suffix = os.path.splitext(model_path)[1]
        if suffix not in RUNTIMES:
            raise ValueError(f"{model_path}: neither of {' '.join(RUNTIMES)}")
        folder = os.path.dirname(os.path.abspath(model_path))
        with open(os.path.join(folder, "artefact.json"), encoding="utf-8") as file:
            self.description = json.load(file)
        with open(os.path.join(folder, self.description["vocabulary_file"]), "rb") as file:
            tokens = read_vocabulary(file.read())
        self.labels = self.description["labels"]
        self.tokenizer = Tokenizer(tokens, self.description["do_lower_case"])
        self._model = RUNTIMES[suffix](model_path, num_threads)
        self._max_seq_length = self.description["max_seq_length"]
        self._pad_id = self.description["pad_id"]
        # The longest first: LiteRT 2.3 now and then answers wrongly where a text outgrows those before it.
        self._model([self._longest()], list)

    def __call__(self, texts: Iterable[str | bytes]) -> np.ndarray:
        """Returns the probabilities of any number of texts, float32 `[N, C]`; short ones don't wait for long ones."""
        texts = list(texts)
        answers = np.empty((len(texts), len(self.labels)), np.float32)
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        size = max(1, self._model.rows_at_once(len(texts)))
        batches = [order[start : start + size] for start in range(0, len(order), size)]
        found = self._model([[texts[index] for index in batch] for batch in batches], self._token_ids)
        for batch, probabilities in zip(batches, found, strict=True):
            answers[batch] = probabilities
        return answers

    def classify(self, texts: Iterable[str | bytes]) -> list[str]:
        """Returns the most probable label of each text."""
        return [self.labels[index] for index in self(texts).argmax(axis=1)]

    def stream(self, texts: Iterable[str | bytes]) -> Iterator[tuple[str, np.ndarray]]:
        """Yields label and probabilities `[C]` of each text in turn, and holds a thousand texts at most."""
        waiting = []
        for text in texts:
            waiting.append(text)
            if len(waiting) == _TEXTS_AT_ONCE:
                yield from self._answered(waiting)
                waiting = []
        yield from self._answered(waiting)

    def _answered(self, texts: Sequence[str | bytes]) -> Iterator[tuple[str, np.ndarray]]:
        for probabilities in self(texts):
            yield self.labels[probabilities.argmax()], probabilities

    def _longest(self) -> np.ndarray:
        """Returns as many ids as the model takes, none of them padding: int32 `[1, T]`."""
        ids = self.tokenizer.encode("", self._max_seq_length) * self._max_seq_length
        return np.array([ids[: self._max_seq_length]], np.int32)

    def _token_ids(self, batches: Sequence[Sequence[str | bytes]]) -> list[np.ndarray]:
        """Returns int32 `[B, T]` for each, T of its longest text."""
        if len(batches) == len(batches[0]) == 1:
            return [np.array([self.tokenizer.encode(batches[0][0], self._max_seq_length)], np.int32)]
        return self.tokenizer.encode_all(batches, self._max_seq_length, self._pad_id)


def read_vocabulary(content: bytes) -> list[str]:
    """Returns the entries of a vocab.txt, one a line; the number of an entry is its id."""
    lines = content.removeprefix(b"\xef\xbb\xbf").decode("utf-8").split("\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix("\r") for line in lines]
