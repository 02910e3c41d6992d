"""How much a user and a project may have: limits, what counts for them, and who is at one."""
