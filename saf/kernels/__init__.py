"""The inner loops, in plain torch and in C++, and the precision they run in."""
