"""Retention, orphans, backup, restore."""
