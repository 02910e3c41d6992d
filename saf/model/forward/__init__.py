"""Forward passes of a network: by spike accumulation, and by the recursion of LIF neurons."""
