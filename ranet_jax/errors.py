"""The one kind of error that is the user's to mend."""


class InputError(ValueError):
    """Something the user gave is wrong: a path, a mask, a checkpoint, a config field.

    The message is one line that says what is wrong and what to do about it. The command line prints it and exits
    with code 2; any other exception is a fault of this library and exits with code 1.
    """
