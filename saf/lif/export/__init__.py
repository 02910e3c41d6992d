"""Export targets, one file each; `saf.lif.exporting` writes, replays and certifies."""
