"""From dataclasses to flags and back, and what the tables refuse."""

import dataclasses
import subprocess
import sys

import absl.flags
import pytest

from chemkd_tf import flags
from chemkd_tf.config import (
    ClassificationConfig,
    DistillationConfig,
    PretrainingConfig,
    PretrainingDataConfig,
    VocabularyConfig,
    VocabularyExtensionConfig,
)
from chemkd_tf.errors import InputError

CONFIGS = (
    VocabularyConfig,
    VocabularyExtensionConfig,
    PretrainingDataConfig,
    PretrainingConfig,
    DistillationConfig,
    ClassificationConfig,
)
DISTILL = ("--input_file=records", "--teacher_dir=teacher", "--output_dir=student")
PRETRAIN = ("--input_file=records", "--vocab_file=vocab.txt", "--output_dir=teacher")


@pytest.fixture
def parse():
    """Parses a command line with flags of its own: absl's are global, and scripts under test have theirs."""
    return lambda config_class, *arguments: flags.config_of(config_class, arguments)


def test_flags_become_the_fields_of_the_dataclass(parse):
    config = parse(
        DistillationConfig, *DISTILL, "--layer_map=2,4,6", "--learning_rate=0.5", "--num_train_steps=9",
        "--share_projection", "--student_embedding=token",
    )  # fmt: skip
    assert config == DistillationConfig(
        input_file="records", teacher_dir="teacher", output_dir="student", layer_map=(2, 4, 6), learning_rate=0.5,
        num_train_steps=9, share_projection=True, student_embedding="token",
    )  # fmt: skip


def test_the_defaults_are_those_of_the_paper(parse):
    config = parse(DistillationConfig, *DISTILL)
    assert config.layer_map == (1, 3, 5)
    assert (config.num_student_layers, config.student_width, config.temperature) == (3, 200, 0.0)  # the method's own
    assert config.embedding_loss_weight == config.hidden_loss_weight == config.prediction_loss_weight == 1.0
    config = parse(PretrainingConfig, *PRETRAIN)
    assert (config.num_layers, config.hidden_size, config.num_attention_heads) == (6, 768, 12)
    config = parse(PretrainingDataConfig, "--input_file=a", "--output_file=b", "--vocab_file=c")
    assert (config.max_seq_length, config.dupe_factor, config.sample_mode) == (128, 10, "sentence")


@pytest.mark.parametrize("config_class", CONFIGS)
def test_every_field_is_a_flag_with_a_help_text(parse, config_class):
    with pytest.raises(InputError):
        parse(config_class)  # every table needs some file
    defined = absl.flags.FlagValues()
    flags.define(config_class, defined)
    for field in dataclasses.fields(config_class):
        assert defined[field.name].help.removesuffix(" (comma-separated)").endswith(field.metadata["help"])
        assert field.metadata["help"]


@pytest.mark.parametrize("text", ["1,3,5", "1, 3, 5", "1,3,5,"])
def test_lists_of_integers_are_separated_by_commas(parse, text):
    assert parse(DistillationConfig, *DISTILL, f"--layer_map={text}").layer_map == (1, 3, 5)


@pytest.mark.parametrize("text", ["1,x,5", "1;3;5", "1.0,3,5", "1 3 5"])
def test_a_list_that_holds_something_else_is_refused_with_its_flag(parse, text):
    with pytest.raises(InputError, match=f"--layer_map={text}: expected integers separated by commas"):
        parse(DistillationConfig, *DISTILL, f"--layer_map={text}")


def test_unknown_flags_and_words_are_refused_and_the_own_flags_of_the_process_are_left_alone(parse):
    with pytest.raises(InputError, match="Unknown command line flag 'layer_mop'"):
        parse(DistillationConfig, *DISTILL, "--layer_mop=1")
    with pytest.raises(InputError, match="unexpected argument 'student': flags are written --name=value"):
        parse(DistillationConfig, *DISTILL, "student")
    assert "layer_map" not in flags.FLAGS


def test_a_value_outside_the_choices_is_refused(parse):
    with pytest.raises(InputError, match="student_embedding=word: value should be one of <full|token>"):
        parse(DistillationConfig, *DISTILL, "--student_embedding=word")


@pytest.mark.parametrize(
    ("config_class", "arguments", "message"),
    [
        (DistillationConfig, ("--layer_map=1,2,3,4",), "--layer_map=1,2,3,4 names 4 teacher layers, the student has "
         "--num_student_layers=3: name one teacher layer for each student layer"),
        (DistillationConfig, ("--temperature=-1",), "--temperature=-1.0: above 0, or 0 for the method's own"),
        (DistillationConfig, ("--num_negatives=0",), "--num_negatives=0: at least 1"),
        (DistillationConfig, ("--phase_proportions=1,0",), "--phase_proportions=1.0,0.0: each above 0"),
        (DistillationConfig, ("--patience=0",), "--patience=0: at least 1"),
        (DistillationConfig, ("--hidden_loss_weight=-1",), "--hidden_loss_weight=-1.0: 0 (off) or more"),
        (PretrainingConfig, ("--eval_every_steps=0",), "--eval_every_steps=0: at least 1"),
        (DistillationConfig, ("--student_width=201",),
         "--student_width=201 can't be halved: even, or give --units_per_direction"),
        (DistillationConfig, ("--student_width=0",), "--student_width=0: at least 1"),
        (DistillationConfig, ("--units_per_direction=-1",), "--units_per_direction=-1: 0 (default) or more"),
        (DistillationConfig, ("--student_attention_heads=4",),
         "--student_attention_heads is of --student=transformer, this is --student=bilstm: leave it out"),
        (DistillationConfig, ("--init_student_layers=1,3,5",),
         "--init_student_layers is of --student=transformer, this is --student=bilstm: leave it out"),
        (DistillationConfig, ("--student=transformer", "--student_embedding=token"),
         "--student_embedding is of --student=bilstm, this is --student=transformer: leave it out"),
        (DistillationConfig, ("--student=transformer", "--student_attention_heads=12"),
         "--student_width=200 is not a multiple of --student_attention_heads=12"),
        (DistillationConfig, ("--student=transformer", "--init_student_layers=1,3"),
         "--init_student_layers=1,3 names 2 teacher layers, the student has --num_student_layers=3: name one teacher "
         "layer for each student layer"),
        (DistillationConfig, ("--student=transformer", "--init_student_layers=1,3,5", "--embedding_init=pca"),
         "--init_student_layers=1,3,5 brings the teacher's embedding along: leave out --embedding_init"),
        (DistillationConfig, ("--stop_when_converged",),
         "--stop_when_converged needs --eval_input_file: convergence is judged on held-out text"),
        (DistillationConfig, ("--teacher_dir=",),
         "--teacher_dir is empty: name the --output_dir of run_pretraining.py"),
        (DistillationConfig, ("--output_dir=",), "--output_dir is empty: name a working directory for this run"),
        (DistillationConfig, ("--train_batch_size=0",), "--train_batch_size=0: at least 1"),
        (DistillationConfig, ("--clip_norm=-1",), "--clip_norm=-1.0: 0 (off) or more"),
        (PretrainingConfig, ("--hidden_size=100",), "--hidden_size=100 is not a multiple of --num_attention_heads=12"),
        (PretrainingConfig, ("--vocab_file=",),
         "--vocab_file is empty: name the vocabulary the records were made with"),
        (PretrainingConfig, ("--gradient_accumulation_steps=0",), "--gradient_accumulation_steps=0: at least 1"),
        (PretrainingConfig, ("--gradient_accumulation_steps=5", "--train_batch_size=4"),
         "--gradient_accumulation_steps=5: at most one for each row of --train_batch_size=4"),
        (DistillationConfig, ("--train_batch_tokens=-1",), "--train_batch_tokens=-1: 0 (off) or more"),
        (PretrainingConfig, ("--num_replicas=-1",), "--num_replicas=-1: 0 (all) or more"),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_are_refused_in_one_line(parse, config_class, arguments, message):
    given = DISTILL if config_class is DistillationConfig else PRETRAIN
    parse(config_class, *given)  # fits without them
    with pytest.raises(InputError) as refused:
        parse(config_class, *given, *arguments)
    assert str(refused.value) == message


def test_an_odd_width_is_fine_with_units_per_direction(parse):
    assert parse(DistillationConfig, *DISTILL, "--student_width=201", "--units_per_direction=9").student_width == 201
    assert parse(DistillationConfig, *DISTILL, "--student_width=201", "--student=transformer").student_width == 201


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*DISTILL, "--layer_map=1,x,5"),
         "error: --layer_map=1,x,5: expected integers separated by commas, as in 1,3,5"),
        ((*DISTILL, "--layer_map=1,3"), "error: --layer_map=1,3 names 2 teacher layers, the student has "
         "--num_student_layers=3: name one teacher layer for each student layer"),
        ((*DISTILL, "records"), "error: unexpected argument 'records': flags are written --name=value"),
    ],
)  # fmt: skip
def test_a_script_says_what_is_wrong_in_one_line_and_exits_with_status_2(arguments, message, pytestconfig):
    script = pytestconfig.rootpath / "run_distill.py"
    done = subprocess.run([sys.executable, str(script), *arguments], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", message + "\n")
