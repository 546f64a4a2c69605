"""Layers: backends that wrap a backend, each overriding only what it changes."""
