"""The one exception that a user is meant to read."""


class InputError(Exception):
    """Bad input: names the file, line or flag, says what was found there and what to do about it.

    Scripts print its message as one line and exit with status 2; every other exception is a defect of ours and keeps
    its stack trace.
    """
