"""The exceptions that a user is meant to read: each is one line on the terminal."""


class InputError(Exception):
    """Bad input: names the file, line or flag, says what was found there and what to do about it.

    Scripts print its message as one line and exit with status 2; every other exception is a defect of ours and keeps
    its stack trace.
    """


class Stopped(Exception):
    """Ended from outside, with everything saved: the same command goes on.

    Scripts print its message as one line and exit with `status`, which is not 0: the work is not done, and who watches
    the process (an orchestrator, a shell script) must start it again before what follows it.

    Args:
        message: what ended it, how far it came, what to do.
        status: of the process, 128 + the number of the signal, as a shell reports it.
    """

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status
