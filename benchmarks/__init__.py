"""What is measured, and how: nothing here is needed to train or to run a network."""
