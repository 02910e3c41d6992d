"""Data sets on the command line: commands, reading files, well-known ones, those of presets."""
