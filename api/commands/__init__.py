"""What the `saf` command can do where the service is installed."""
