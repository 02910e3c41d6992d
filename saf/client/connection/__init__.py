"""How the client talks to a server: requests, streams, files, proxies."""
