"""Commands that `saf` has where the service is installed."""
