"""SIGTERM asks a training to end: it is remembered here, and obeyed when an update is complete."""

import signal
import threading


class TerminationRequest:
    """While it is entered, SIGTERM sets `received` instead of ending the process; afterwards all is as before.

    Kubernetes and batch systems send it some time before they end a process for good. Python calls handlers in its main
    thread only; entered in another thread, this does nothing, and SIGTERM keeps the meaning it has.

    Attributes:
        received: whether SIGTERM came.
    """

    def __init__(self):
        self.received = False
        self._before = None
        self._installed = False

    def __enter__(self) -> "TerminationRequest":
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._remember)
            self._installed = True
        return self

    def __exit__(self, *exception) -> None:
        if self._installed:
            # None: a handler that was not installed from Python, and can't be again.
            signal.signal(signal.SIGTERM, signal.SIG_DFL if self._before is None else self._before)
            self._installed = False

    def _remember(self, number, frame) -> None:
        self.received = True
