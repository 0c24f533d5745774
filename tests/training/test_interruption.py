"""SIGTERM: remembered while a training runs, and only there."""

import os
import signal
import threading

import pytest

from chemkd_tf.training.interruption import TerminationRequest


@pytest.fixture
def own_handler():
    """A handler of the caller's, which notes what it was called with."""
    calls = []

    def note(number, frame):
        calls.append(number)

    before = signal.signal(signal.SIGTERM, note)
    yield note, calls
    signal.signal(signal.SIGTERM, before)


def test_a_signal_is_remembered_and_the_callers_handler_comes_back(own_handler):
    note, calls = own_handler
    with TerminationRequest() as termination:
        assert not termination.received
        os.kill(os.getpid(), signal.SIGTERM)
        assert termination.received
    assert calls == []
    assert signal.getsignal(signal.SIGTERM) is note
    os.kill(os.getpid(), signal.SIGTERM)
    assert calls == [signal.SIGTERM]


def test_the_handler_comes_back_after_an_error_too(own_handler):
    with pytest.raises(KeyError), TerminationRequest():
        raise KeyError
    assert signal.getsignal(signal.SIGTERM) is own_handler[0]


def test_another_thread_than_the_main_one_leaves_the_handler_alone(own_handler):
    seen = []

    def enter():
        with TerminationRequest():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [own_handler[0]]
    assert signal.getsignal(signal.SIGTERM) is own_handler[0]
