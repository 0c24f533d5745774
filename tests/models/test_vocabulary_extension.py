"""Arrays for a larger vocabulary: old rows bit for bit, new rows the mean of their old pieces."""

import subprocess
import sys

import numpy as np
import pytest

from chemkd_tf.errors import InputError
from chemkd_tf.models.vocabulary_extension import extend_embeddings, is_same, require_extension
from chemkd_tf.text.vocabulary import Vocabulary, vocabulary_of
from chemkd_tf.text.vocabulary_extension import extend

OLD = Vocabulary(
    ("[PAD]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "酸", "碱", "na", "##o", "##h", "[unused2]", "。")
)
NEW = extend(OLD, ["naohh", "氯", "##℃", "##oh"])
# Which old rows the new ones are the mean of, by hand: "na ##o ##h ##h"; all ideographs; all but special tokens and
# [unusedN]; "##o ##h".
ORIGINS = {1: [8, 9, 10, 10], 11: [6, 7], 13: [6, 7, 8, 9, 10, 12], 14: [9, 10]}


def arrays(dtype=np.float32, width: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    shapes = ((OLD.size, width), (OLD.size,), (width, OLD.size))
    return tuple(rng.normal(size=shape).astype(dtype) for shape in shapes)


def plain_mean(array: np.ndarray, ids: list[int]) -> np.ndarray:
    total = 0.0
    for index in ids:
        total = total + array[index].astype(float)
    return total / len(ids)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
def test_rows_of_old_entries_are_bit_identical_and_new_rows_are_means(dtype):
    embedding, bias, kernel = arrays(dtype)
    copies = [array.copy() for array in (embedding, bias, kernel)]
    found = extend_embeddings(OLD, NEW, embedding, bias, kernel)
    assert [array.shape for array in found] == [(15, 5), (15,), (5, 15)]
    assert all(array.dtype == dtype for array in found)
    for old, new in ((embedding, found.token_embedding), (bias, found.output_bias), (kernel.T, found.decoder_kernel.T)):
        for index in range(NEW.size):
            if index in ORIGINS:
                np.testing.assert_allclose(new[index], plain_mean(old, ORIGINS[index]).astype(dtype), rtol=1e-3)
            else:
                assert new[index].tobytes() == old[index].tobytes()
    for array, copy in zip((embedding, bias, kernel), copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_what_is_not_given_is_none():
    embedding, bias, _ = arrays()
    found = extend_embeddings(OLD, NEW, embedding)
    assert (found.output_bias, found.decoder_kernel) == (None, None)
    found = extend_embeddings(OLD, NEW, embedding, output_bias=bias)
    assert found.output_bias.shape == (NEW.size,) and found.decoder_kernel is None


def test_the_same_vocabulary_gives_the_same_arrays():
    assert is_same(OLD, Vocabulary(OLD.tokens)) and not is_same(OLD, NEW)
    for given, found in zip(arrays(), extend_embeddings(OLD, OLD, *arrays()), strict=True):
        assert given.tobytes() == found.tobytes()


def test_full_unused_entries_keep_the_shape():
    embedding, _, _ = arrays()
    assert extend_embeddings(OLD, extend(OLD, ["naoh", "氯"]), embedding).token_embedding.shape == embedding.shape


def test_another_vocabulary_is_refused():
    embedding, bias, kernel = arrays()
    other = vocabulary_of(["酸", "碱", "na", "##o", "##h", "。", "x", "y", "z"])
    with pytest.raises(InputError, match=r"the new vocabulary:3: expected '\[UNK\]', as in the old vocabulary, found"):
        extend_embeddings(OLD, other, embedding)
    with pytest.raises(InputError, match=r"^new.txt:3: .* as in old.txt"):
        require_extension(OLD, other, "old.txt", "new.txt")
    for name, given in {
        "token embedding": (embedding[1:], bias, kernel),
        "output bias": (embedding, bias[1:], kernel),
        "decoder kernel": (embedding, bias, kernel[:, 1:]),
    }.items():
        with pytest.raises(InputError, match=f"the {name} of the checkpoint is for 12 entries, its vocabulary has 13"):
            extend_embeddings(OLD, NEW, *given)


def test_no_tensorflow_is_needed():
    program = "import sys, chemkd_tf.models.vocabulary_extension; print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
