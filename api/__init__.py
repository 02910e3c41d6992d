"""HTTP: the routes, the pages, the client and the command line."""
