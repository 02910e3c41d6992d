"""Converted networks: what conversions cost, few bits, other tools."""
