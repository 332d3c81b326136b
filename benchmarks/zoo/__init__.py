"""Trains the models of the benchmark, clean and backdoored, from recipes that are data."""
