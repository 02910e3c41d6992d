"""Webhooks: addresses that are told when something ends, by the Standard Webhooks specification."""
