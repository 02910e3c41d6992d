"""What is measured, and how: nothing here is needed to train or to run a network."""

from pathlib import Path

RESULTS = Path(__file__).parent / "results"
