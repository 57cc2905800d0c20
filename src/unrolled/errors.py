"""The one exception for what a user can put right.

The command line prints it as one line and ends with exit code 2; anything else that escapes is a bug of ours.
"""

from __future__ import annotations


class UserError(ValueError):
    """A mistake the user can mend. The message is one line: it names the thing (file, flag, value) and the remedy."""
