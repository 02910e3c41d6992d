"""Data sets: uploads, checks, previews, pages."""
