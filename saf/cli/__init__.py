"""The `saf` command."""
