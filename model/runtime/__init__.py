"""Inference engines for CPU and GPU, and int8 quantisation."""
