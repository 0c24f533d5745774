"""What a teacher says of fixed texts, kept on disk: what it is, how much it is; a killed run goes on asking."""

import numpy as np
import pytest
import tiny

from chemkd_tf.data import datasets
from chemkd_tf.distillation.teacher_cache import TeacherCache
from chemkd_tf.errors import InputError
from chemkd_tf.models import states
from chemkd_tf.models.attention_scores import with_attention_scores
from chemkd_tf.models.checkpoints import build_encoder
from chemkd_tf.models.heads import classification_model, classification_states

TEXTS = 7
NAMES = ("hidden_1", "logits", "representation", "attention_scores_2")


@pytest.fixture(scope="module")
def teacher():
    network = classification_model(build_encoder(tiny.teacher_architecture()), tiny.CLASSES, "mean", 0.5)
    return with_attention_scores(classification_states(tiny.randomise(network)), [2])


@pytest.fixture(scope="module")
def texts():
    batch = tiny.batch(rows=TEXTS)
    lengths = batch["padding_mask"].sum(axis=1).astype(np.int32)
    return datasets.EncodedTexts(batch["token_ids"], lengths, np.zeros(TEXTS, np.int32))


def cache_of(teacher):
    return TeacherCache(teacher, NAMES, TEXTS, tiny.TOKENS)


def asked_at_once(teacher, texts):
    mask = (np.arange(tiny.TOKENS) < texts.lengths[:, None]).astype(np.int32)
    inputs = {"token_ids": texts.token_ids, "segment_ids": 0 * texts.token_ids, "padding_mask": mask}
    return mask.astype(bool), {name: value.numpy() for name, value in teacher(inputs, training=False).items()}


def assert_is_what_the_teacher_says(found, teacher, texts):
    mask, expected = asked_at_once(teacher, texts)
    assert sorted(found) == sorted(NAMES)
    pairs = np.broadcast_to((mask[:, :, None] & mask[:, None, :])[:, None], expected["attention_scores_2"].shape)
    counts = {"hidden_1": mask, "logits": ..., "representation": ..., "attention_scores_2": pairs}
    for name, where in counts.items():
        assert found[name].dtype == np.float32
        assert found[name].shape == expected[name].shape
        np.testing.assert_allclose(found[name][where], expected[name][where], atol=1e-5, err_msg=name)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 9])
def test_every_text_is_asked_about_once_in_order(teacher, texts, tmp_path, batch_size):
    found = cache_of(teacher).fill(str(tmp_path), datasets.labelled_examples(texts, batch_size, 1), "teacher")
    assert_is_what_the_teacher_says(found, teacher, texts)
    again = cache_of(teacher).fill(str(tmp_path), None, "teacher")  # nothing is left to ask
    for name in NAMES:
        np.testing.assert_array_equal(again[name], found[name])


def test_the_size_is_known_beforehand_and_what_is_too_much_is_refused(teacher, texts, tmp_path):
    cache = cache_of(teacher)
    floats = TEXTS * (tiny.TOKENS * tiny.TEACHER_WIDTH + tiny.CLASSES + tiny.TEACHER_WIDTH + 2 * tiny.TOKENS**2)
    assert cache.num_bytes == 4 * floats
    found = cache.fill(str(tmp_path), datasets.labelled_examples(texts, 3, 1), "teacher")
    assert sum(array.nbytes for array in found.values()) == 4 * floats
    cache.require_space(4 * floats / 1e9)
    with pytest.raises(InputError) as refused:
        cache.require_space(1e-6)
    assert str(refused.value).startswith(
        f"--teacher_cache_gb=1e-06: what the teacher says would take {4 * floats / 1e9:.3g} GB (attention_scores_2 "
        f"7x2x12x12, hidden_1 7x12x24, logits 7x3, representation 7x24); give more, a smaller --max_unlabelled_texts"
    )


def test_another_teacher_or_other_texts_are_asked_anew(teacher, texts, tmp_path):
    batches = datasets.labelled_examples(texts, 3, 1)
    for identity in ("teacher", "another"):
        cache_of(teacher).fill(str(tmp_path), batches, identity)
    assert len(list(tmp_path.iterdir())) == 2


class Killed(Exception):
    """What ends a run."""


@pytest.mark.parametrize("answered", [0, 1, 2])
def test_a_killed_run_goes_on_asking_where_it_was(teacher, texts, tmp_path, answered):
    batches = datasets.labelled_examples(texts, 3, 1)

    def some():
        for number, batch in enumerate(batches):
            if number == answered:
                raise Killed
            yield batch

    with pytest.raises(Killed):
        cache_of(teacher).fill(str(tmp_path), some(), "teacher")
    seen = []

    class Counting:
        output = teacher.output

        def __call__(self, inputs, training):
            seen.append(inputs["token_ids"].shape[0])
            return teacher(inputs, training=training)

    cache = TeacherCache(Counting(), NAMES, TEXTS, tiny.TOKENS)
    found = cache.fill(str(tmp_path), batches, "teacher")
    assert_is_what_the_teacher_says(found, teacher, texts)
    assert len(seen) <= 1 + (answered < 2)  # traced once or twice; batches that were answered are not asked again


def test_an_array_that_a_kill_cut_off_is_written_anew(teacher, texts, tmp_path):
    batches = datasets.labelled_examples(texts, 3, 1)
    expected = cache_of(teacher).fill(str(tmp_path), batches, "teacher")["logits"].copy()
    (path,) = tmp_path.glob("*/logits.npy")
    (path.parent / "progress.json").unlink()
    path.write_bytes(path.read_bytes()[:40])
    found = cache_of(teacher).fill(str(tmp_path), batches, "teacher")
    np.testing.assert_allclose(found["logits"], expected, atol=1e-5)


@pytest.mark.parametrize("method", ["layered", "tinybert", "lrc_bert"])
def test_a_distiller_has_the_same_losses_from_disk_as_from_its_teacher(method, tmp_path):
    student = {"num_heads": 2, "num_layers": 2, "hidden_dim": 12}
    model = tiny.task_distiller(tiny.classification_config(method=method), student=student)
    unlabelled = tiny.batch(rows=5, seed=9)
    lengths = unlabelled["padding_mask"].sum(axis=1).astype(np.int32)
    others = datasets.EncodedTexts(unlabelled["token_ids"], lengths, np.zeros(5, np.int32))
    labelled = tiny.batch(rows=4, seed=8)
    lengths = labelled["padding_mask"].sum(axis=1).astype(np.int32)
    own = datasets.EncodedTexts(labelled["token_ids"], lengths, np.array([0, 1, 2, 0], np.int32))
    cache = TeacherCache(model.teacher, model.teacher_states, *others.token_ids.shape)
    found = cache.fill(str(tmp_path), datasets.labelled_examples(others, 2, 1), "teacher")
    taught = others._replace(taught={states.taught(name): array for name, array in found.items()})
    metrics = []
    for texts in (others, taught):
        batches = datasets.labelled_batches(own, 2, 1, 4, 0, 1, None, texts, 3)
        found = [model.compute_terms(batch, training=False).losses for batch in batches]
        if texts is taught:
            assert {name for name in next(iter(batches)) if name.startswith("taught_")} == {
                states.taught(name) for name in model.teacher_states
            }
        metrics.append([{name: [part.numpy().sum() for part in pair] for name, pair in each.items()} for each in found])
    assert len(metrics[0]) == 4
    for asked_now, beforehand in zip(*metrics, strict=True):
        for name, pair in asked_now.items():
            np.testing.assert_allclose(beforehand[name], pair, rtol=1e-4, atol=1e-5, err_msg=name)
