"""Recordings of event cameras and cochleas as they are distributed, one file a format."""
