"""Jobs: submit, watch, steer."""
