"""Programs that the service runs in processes of their own, with bounds of memory and time."""
