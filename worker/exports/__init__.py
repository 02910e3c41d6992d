"""Exports of networks to other tools: claimed beside trainings, one at a time a worker."""
