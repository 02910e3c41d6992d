"""Resumable uploads, by the protocol tus 1.0: files that arrive in pieces."""
