"""`python -m api.commands.web`: the server of the API, as `saf web` runs it."""

from saf.imports import uncollected

with uncollected():
    from api.commands.server import main

if __name__ == "__main__":
    main()
