"""One attempt of a job: supervised, recorded, ended."""
