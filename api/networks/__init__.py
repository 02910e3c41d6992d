"""The choices that a job can ask for: networks, methods, surrogates."""
