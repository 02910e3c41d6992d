"""ASGI middleware: connections, limits, compression, prefix."""
