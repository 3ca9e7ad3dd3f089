"""What advlab refuses, and with which exit status.

Every refusal is one line: what was wrong, where, and what would be right. The front end prints that
line and exits with the class's status; a traceback is shown only under ``--debug``.
"""

from __future__ import annotations


class AdvlabError(Exception):
    """A refusal that the user is meant to read. Never raised bare: pick one of the two below."""

    exit_status = 1


class UserError(AdvlabError):
    """The user asked for something that cannot be (a typo, a value out of range, a file that is not
    ours)."""

    exit_status = 2


class WorldError(AdvlabError):
    """The request was fine and the world was not (disk full, no network, a corrupt download, a loss
    gone NaN)."""

    exit_status = 1
