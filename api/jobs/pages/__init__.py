"""The pages of jobs: the list, one job, the form of a new one."""
