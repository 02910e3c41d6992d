"""Files by their SHA-256, in a directory or in S3."""
