"""Recordings of event cameras and spikes: decoded, and counted into frames."""
