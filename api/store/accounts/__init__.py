"""Accounts in the database: users, their keys and browser sessions, projects and who is in them."""
