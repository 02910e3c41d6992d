"""The spiking network and its forward passes."""
