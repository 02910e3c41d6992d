"""What trainings reach: by default, on the paper's data, on series, and where they go wrong."""
