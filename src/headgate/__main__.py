"""`python -m headgate`."""

from headgate.cli.main import process

process()
