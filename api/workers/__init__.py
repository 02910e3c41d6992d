"""Workers: who is there, and what they do."""
