"""What plugins for SQL servers share, and what knows neither a driver nor a dialect.

How transactions become rows and rows outcomes, whose turn it is when a batch fails, what is tried
again, how hosts are listed: it is the same logic for PostgreSQL and MySQL. Statements, error codes
and schemas only look alike, and stay in the plugins.
"""
