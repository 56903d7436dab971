"""The one error that a user of the pack is meant to read."""


class FramewrightError(ValueError):
    """Bad input: the text names the socket or file, what came, and what was expected."""
