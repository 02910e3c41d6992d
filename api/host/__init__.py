"""Child processes, locks, sockets and memory of this machine."""
