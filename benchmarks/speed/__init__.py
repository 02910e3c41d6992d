"""What an iteration and a loop take: time and memory, ours beside others'."""
