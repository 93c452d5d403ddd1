"""What a network runs on: engines on CPU and GPU, int8."""
