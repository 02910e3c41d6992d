"""Training processes: start, protocol, reports and end."""
