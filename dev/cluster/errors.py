"""The one exception that the command line turns into a message."""

from __future__ import annotations


class ClusterError(Exception):
    """Something the user can act on. The text names the part, what was found and what to do."""
