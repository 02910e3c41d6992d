"""Networks of other tools, brought into the format of this library: NIR files, and the weights of
ReLU networks."""
