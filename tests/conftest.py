"""Shared by the tests across packages."""
