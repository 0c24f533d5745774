"""The student: golden sizes, the embedding operation, a BiLSTM that ends where the sentence ends."""

import numpy as np
import pytest
import tiny

from chemkd_tf.models.architecture import StudentArchitecture
from chemkd_tf.models.student import build_student

# One BiLSTM layer of 200 in, 100 per direction: 2 directions * 4 gates * 100 * (200 in + 100 back + 1 bias) = 240,800.
# Embeddings: 21,128 tokens * 200 = 4,225,600; 128 positions * 200 = 25,600; 2 segments * 200 = 400.
GOLDEN_COUNTS = {
    ("full", 0): 3 * 240_800 + 4_225_600 + 25_600 + 400,
    ("token", 0): 3 * 240_800 + 4_225_600,
    # 200 per direction: the first layer 2*4*200*(200+200+1) = 641,600, the others 2*4*200*(400+200+1) = 961,600.
    ("full", 200): 641_600 + 2 * 961_600 + 4_225_600 + 25_600 + 400,
}


@pytest.mark.parametrize(("embedding", "units"), GOLDEN_COUNTS)
def test_the_student_has_the_golden_number_of_parameters(embedding, units):
    student = build_student(StudentArchitecture(embedding=embedding, units_per_direction=units))
    assert student.count_params() == GOLDEN_COUNTS[embedding, units]


def test_the_golden_numbers_are_those_of_the_documentation():
    assert GOLDEN_COUNTS["full", 0] == 4_974_000
    assert GOLDEN_COUNTS["token", 0] == 4_948_000


@pytest.fixture(scope="module")
def student():
    return tiny.randomise(build_student(tiny.student_architecture(num_layers=3)))


@pytest.fixture(scope="module")
def weights(student):
    return {variable.path: variable.numpy().astype("float64") for variable in student.weights}


def test_it_returns_an_embedding_and_one_state_per_layer(student):
    outputs = student(tiny.select(tiny.batch()))
    assert list(outputs) == ["embedding", "hidden_1", "hidden_2", "hidden_3"]
    assert {tuple(state.shape) for state in outputs.values()} == {(6, tiny.TOKENS, tiny.STUDENT_WIDTH)}
    outputs = build_student(tiny.student_architecture(units_per_direction=7))(tiny.select(tiny.batch()))
    assert outputs["embedding"].shape[-1] == tiny.STUDENT_WIDTH
    assert outputs["hidden_1"].shape[-1] == outputs["hidden_2"].shape[-1] == 14


def test_the_embedding_is_the_sum_of_token_segment_and_position(student, weights):
    batch = tiny.batch()
    expected = (
        weights["token_embedding/embeddings"][batch["token_ids"]]
        + weights["segment_embedding/embeddings"][batch["segment_ids"]]
        + weights["position_embedding/embeddings"][None, : tiny.TOKENS]
    )
    np.testing.assert_allclose(student(tiny.select(batch))["embedding"], expected, atol=1e-6)


def test_the_token_embedding_alone_ignores_segments():
    student = build_student(tiny.student_architecture(embedding="token"))
    batch = tiny.batch()
    expected = student.get_layer("token_embedding").get_weights()[0][batch["token_ids"]]
    np.testing.assert_allclose(student(tiny.select(batch))["embedding"], expected, atol=1e-6)


def plain_lstm(sequence, kernel, recurrent_kernel, bias):
    """An LSTM over one sequence `[T, H]`, gates in the order input, forget, candidate, output."""

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    units = len(recurrent_kernel)
    h, c, outputs = np.zeros(units), np.zeros(units), []
    for x in sequence:
        i, f, g, o = np.split(x @ kernel + h @ recurrent_kernel + bias, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        outputs.append(h)
    return np.array(outputs)


def test_each_layer_is_a_forward_and_a_backward_lstm_over_the_real_tokens(student, weights):
    batch = tiny.batch()
    outputs = {name: state.numpy() for name, state in student(tiny.select(batch)).items()}
    for row, length in enumerate(batch["padding_mask"].sum(1)):
        for layer in (1, 2, 3):
            below = outputs["embedding" if layer == 1 else f"hidden_{layer - 1}"][row, :length]
            directions = []
            for direction in ("forward", "backward"):
                cell = f"bilstm_{layer}/{direction}_lstm_{layer}/lstm_cell"
                own = [weights[f"{cell}/{name}"] for name in ("kernel", "recurrent_kernel", "bias")]
                order = 1 if direction == "forward" else -1
                directions.append(plain_lstm(below[::order], *own)[::order])
            np.testing.assert_allclose(
                outputs[f"hidden_{layer}"][row, :length], np.concatenate(directions, axis=1), atol=1e-5
            )


def test_more_padding_changes_no_state_at_a_real_token(student):
    batch = tiny.batch()
    before, after = student(tiny.select(batch)), student(tiny.select(tiny.pad(batch, tokens=7)))
    real = batch["padding_mask"] == 1
    for name in before:
        np.testing.assert_allclose(after[name].numpy()[:, : tiny.TOKENS][real], before[name].numpy()[real], atol=1e-5)


def test_a_later_token_changes_an_earlier_state(student):
    batch = tiny.batch()
    row = int(batch["padding_mask"].sum(1).argmax())
    before = student(tiny.select(batch))["hidden_1"].numpy()
    batch["token_ids"][row, -1] = 5 + (batch["token_ids"][row, -1] + 1) % (tiny.VOCABULARY - 5)
    after = student(tiny.select(batch))["hidden_1"].numpy()
    half = tiny.STUDENT_WIDTH // 2
    changed = np.abs(after - before)[row].max(axis=1)
    assert changed.min() > 0
    np.testing.assert_array_equal(after[row, :-1, :half], before[row, :-1, :half])  # the forward half sees no future
    np.testing.assert_array_equal(np.delete(after, row, axis=0), np.delete(before, row, axis=0))
