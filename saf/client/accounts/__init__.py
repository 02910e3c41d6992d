"""Accounts of a service: who one is there, users, keys, projects, and the keys kept here."""
