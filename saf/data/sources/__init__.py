"""Where bytes come from: folders, archives and streams, within limits."""
