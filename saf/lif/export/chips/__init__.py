"""Chips, one file each: not written for, but measured against what is published of them."""
