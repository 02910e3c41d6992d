"""The service under load: pages, viewers, long runs, many short jobs."""
