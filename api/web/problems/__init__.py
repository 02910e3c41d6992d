"""Errors as `application/problem+json` (RFC 9457): documents, handler, fields that are wrong."""
