"""Webhooks in the database: who is told of what, and the outbox of messages."""
