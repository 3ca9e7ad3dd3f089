"""The errors that advlab raises on purpose, and the exit status of each.

The message of an error is one line: what was wrong, where, and what would be right. The command
line prints it and exits with the status of the class. A traceback appears only with ``--debug``.
"""

from __future__ import annotations


class AdvlabError(Exception):
    """Base class of the two below, which are the ones to raise."""

    exit_status = 1


class UsageError(AdvlabError):
    """The request is wrong: a typo, a value out of range, a file of another kind."""

    exit_status = 2


class EnvironmentFailure(AdvlabError):
    """The request is right, and something outside fails: a full disk, a broken download, a NaN."""

    exit_status = 1
