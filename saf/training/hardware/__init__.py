"""The machine a training runs on: devices, memory, back ends."""
