"""`python -m saf.cli`: the `saf` command."""

from __future__ import annotations

from saf.cli.main import main

main()
