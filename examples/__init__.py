"""Complete programs that use statekeep; each is run with `python -m examples.<name>`."""
