"""The one exception that means: the user's input is at fault, not the program."""


class InputError(ValueError):
    """Bad configuration or bad data, described in words that name the place and the cure.

    The command line prints the message without a traceback and exits with status 2.
    """
