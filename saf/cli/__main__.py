"""`python -m saf.cli`: the `saf` command."""

from __future__ import annotations

from saf.cli.entry import main

main()
