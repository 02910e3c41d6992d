"""Training processes: how they start, what is said to and by them."""
