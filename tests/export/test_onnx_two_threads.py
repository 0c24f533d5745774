"""A text shared by two threads has the answer that one thread gives, bit for bit; what goes wrong in one ends both."""

import dataclasses
import os
import shutil
import threading
import time
import zipfile

import numpy as np
import onnx as onnx_format
import pytest
from export.random_classifier import STUDENT, expected, make, token_rows

from chemkd_tf.export import client, onnx

VARIANTS = {
    "max": ({}, "max"),
    "mean": ({}, "mean"),
    "cls, one layer": ({"num_layers": 1}, "cls"),
    "last, three layers": ({"num_layers": 3, "units_per_direction": 7}, "last"),
    "token embedding": ({"embedding": "token"}, "max"),
}


@pytest.fixture
def always(monkeypatch):
    """However short the text, however long the pause before it."""
    monkeypatch.setattr(client, "_LEAST_SHARED", 0)
    monkeypatch.setattr(client, "_STILL_AWAKE", float("inf"))


def single_rows() -> list[np.ndarray]:
    return [row[None, : np.count_nonzero(row)] for row in token_rows(30) if row.any()]


def answers(model: client.OnnxModel, rows: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([model([row], list)[0] for row in rows])


def count_shared(model: client.OnnxModel, monkeypatch) -> list[int]:
    """The lengths that two threads shared, as they are met."""
    found, run = [], model._pieces._run

    def counted(direction, token_ids, layers):
        found.extend([token_ids.shape[1]] if direction == "forward" else [])
        return run(direction, token_ids, layers)

    monkeypatch.setattr(model._pieces, "_run", counted)
    return found


@pytest.mark.parametrize("variant", VARIANTS)
def test_two_threads_answer_as_one_does(tmp_path, monkeypatch, always, variant):
    changes, pooling = VARIANTS[variant]
    classifier = make(tmp_path, dataclasses.replace(STUDENT, **changes), pooling)
    paths, rows = onnx.export(classifier, str(tmp_path / "onnx")), single_rows()
    for path in paths:
        two = client.OnnxModel(path, 2)
        shared = count_shared(two, monkeypatch)
        found = answers(two, rows)
        np.testing.assert_array_equal(found, answers(client.OnnxModel(path, 1), rows))
        assert shared == [row.shape[1] for row in rows] and min(shared) <= 3
        if path.endswith("fp32.onnx"):
            oracle = np.concatenate([expected(classifier, row) for row in rows])
            np.testing.assert_allclose(found, oracle, rtol=0, atol=1e-5)


def test_short_texts_and_several_are_not_shared(exported, monkeypatch, always):
    monkeypatch.setattr(client, "_LEAST_SHARED", 10)
    model = client.OnnxModel(exported[0], 2)
    shared = count_shared(model, monkeypatch)
    for token_ids in (token_rows(1)[:, :9], token_rows(2)[:, :10], token_rows(1)[:, :10]):
        model([token_ids], list)
    assert shared == [10]


def test_after_a_pause_a_text_has_one_thread(exported, monkeypatch, always):
    monkeypatch.setattr(client, "_STILL_AWAKE", 5.0)
    now = [100.0]
    monkeypatch.setattr(client.time, "monotonic", lambda: now[0])
    model = client.OnnxModel(exported[0], 2)
    shared = count_shared(model, monkeypatch)
    for seconds, length in ((0, 5), (4, 6), (6, 7), (4, 8)):
        now[0] += seconds
        model([token_rows(1)[:, :length]], list)
    assert shared == [6, 8]


def test_weights_are_stored_once(exported):
    for path in exported:
        with zipfile.ZipFile(client.pieces_of(path)) as pieces:
            models = {name: onnx_format.load_from_string(pieces.read(name)) for name in pieces.namelist()}
        assert sorted(models) == ["backward_1", "backward_2", "forward_1", "forward_2", "head"]
        for model in models.values():
            for tensor in model.graph.initializer:
                assert tensor.external_data or len(tensor.raw_data) < 256, (path, tensor.name)
                assert all(
                    each.value == os.path.basename(path) for each in tensor.external_data if each.key == "location"
                )


def test_the_same_classifier_makes_the_same_bytes(classifier, exported, tmp_path):
    again = onnx.export(classifier, str(tmp_path / "onnx"))
    for path, other in zip(exported, again, strict=True):
        with open(client.pieces_of(path), "rb") as one, open(client.pieces_of(other), "rb") as two:
            assert one.read() == two.read()


def test_pieces_of_another_model_are_refused_and_none_are_needed(exported, tmp_path, always):
    folder = shutil.copytree(os.path.dirname(exported[0]), tmp_path / "onnx")
    path = str(folder / "fp32.onnx")
    shutil.copy(client.pieces_of(exported[1]), client.pieces_of(path))
    with pytest.raises(ValueError, match=r"fp32.two_threads.zip belongs to another model: delete it"):
        client.OnnxModel(path, 2)
    client.OnnxModel(path, 1)
    os.remove(client.pieces_of(path))
    rows = single_rows()
    whole = answers(client.OnnxModel(path, 2), rows)
    np.testing.assert_allclose(whole, answers(client.OnnxModel(exported[0], 2), rows), rtol=0, atol=1e-6)


@pytest.mark.parametrize("direction", client.DIRECTIONS)
def test_an_error_in_either_direction_reaches_the_caller_and_leaves_the_model_usable(
    exported, monkeypatch, always, direction
):
    model, (row, *_) = client.OnnxModel(exported[0], 2), single_rows()

    class Broken:
        def run(self, names, given):
            raise MemoryError(direction)

    with monkeypatch.context() as patch:
        patch.setitem(model._pieces._directions, f"{direction}_1", Broken())
        with pytest.raises(MemoryError, match=direction):
            model([row], list)
    np.testing.assert_array_equal(answers(model, [row]), answers(client.OnnxModel(exported[0], 1), [row]))


def test_while_one_caller_has_the_threads_another_takes_its_own(exported, monkeypatch, always):
    model, (row, *_) = client.OnnxModel(exported[0], 2), single_rows()
    expected_answer = answers(client.OnnxModel(exported[0], 1), [row])
    shared, go_on = count_shared(model, monkeypatch), threading.Event()
    session = model._pieces._directions["forward_1"]

    class Slow:
        def run(self, names, given):
            assert go_on.wait(60)
            return session.run(names, given)

    monkeypatch.setitem(model._pieces._directions, "forward_1", Slow())
    found = []
    first = threading.Thread(target=lambda: found.append(answers(model, [row])))
    first.start()
    until = time.monotonic() + 60
    while not shared and time.monotonic() < until:
        time.sleep(0.001)
    np.testing.assert_array_equal(answers(model, [row]), expected_answer)
    assert len(shared) == 1 and not found
    go_on.set()
    first.join(60)
    np.testing.assert_array_equal(found[0], expected_answer)


def test_a_shared_text_does_not_wait_behind_the_batches_of_others(exported, monkeypatch, always):
    model, (row, *_) = client.OnnxModel(exported[0], 2), single_rows()
    expected_answer = answers(client.OnnxModel(exported[0], 1), [row])
    shared, go_on, session = count_shared(model, monkeypatch), threading.Event(), model._by_rows[0]

    class Slow:
        def run(self, names, given):
            assert go_on.wait(60)
            return session.run(names, given)

    monkeypatch.setattr(model, "_by_rows", [Slow()])
    batches = threading.Thread(target=lambda: model([row] * 8, list))
    batches.start()
    until = time.monotonic() + 60
    while model._threads._work_queue.qsize() < 2 and time.monotonic() < until:  # both threads have one, two wait
        time.sleep(0.001)
    np.testing.assert_array_equal(answers(model, [row]), expected_answer)
    assert shared == [row.shape[1]]
    go_on.set()
    batches.join(60)


def test_no_more_batches_are_prepared_than_a_few_ahead(exported, monkeypatch):
    model, rows = client.OnnxModel(exported[0], 2), token_rows(1)
    unfinished, most, lock, run = [0], [0], threading.Lock(), client._run

    def prepare(batches: list[np.ndarray]) -> list[np.ndarray]:
        with lock:
            unfinished[0] += len(batches)
            most[0] = max(most[0], unfinished[0])
        return batches

    def slow(session, token_ids: np.ndarray) -> np.ndarray:
        time.sleep(0.01)
        found = run(session, token_ids)
        with lock:
            unfinished[0] -= 1
        return found

    monkeypatch.setattr(client, "_run", slow)
    assert len(model([rows] * 30, prepare)) == 30
    assert 3 <= most[0] <= 6


def test_the_caller_prepares_all_batches_and_takes_the_last(exported, monkeypatch):
    model, rows = client.OnnxModel(exported[0], 2), [token_rows(2)[:, :length] for length in (3, 4, 5, 6, 7)]
    prepared, ran, run = [], {}, client._run

    def prepare(batches: list[np.ndarray]) -> list[np.ndarray]:
        prepared.append((threading.get_ident(), [batch.shape[1] for batch in batches]))
        return batches

    def counted(session, token_ids: np.ndarray) -> np.ndarray:
        ran[token_ids.shape[1]] = threading.get_ident()
        return run(session, token_ids)

    monkeypatch.setattr(client, "_run", counted)
    found = model(rows, prepare)
    here = threading.get_ident()
    assert prepared == [(here, [3, 4]), (here, [5, 6]), (here, [7])]
    assert [length for length, thread in ran.items() if thread == here] == [7] and len(ran) == 5
    for each, batch in zip(found, rows, strict=True):
        np.testing.assert_array_equal(each, run(model._by_rows[0], batch))
