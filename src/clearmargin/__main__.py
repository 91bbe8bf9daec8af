"""``python -m clearmargin``: the same as the command ``clearmargin``."""

from clearmargin.cli import process

process()
