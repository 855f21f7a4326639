"""The exception for errors in the user's input, as opposed to errors of the program."""


class InputError(ValueError):
    """An error in the configuration or the data. The message names the place and the cure.

    The command line prints the message without a traceback and exits with status 2.
    """
