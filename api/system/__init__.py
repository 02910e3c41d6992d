"""Health, gauges and the page of the system."""
