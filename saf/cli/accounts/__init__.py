"""The commands of `saf` for accounts, and for what is beside them."""
