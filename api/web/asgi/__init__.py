"""What wraps the application: connections, limits, compression, prefix."""
