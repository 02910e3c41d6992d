"""What every request uses: problems, limits, dependencies, streams."""
