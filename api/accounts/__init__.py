"""Accounts: who may come in, what is open to them, and the pages and routes about that."""
