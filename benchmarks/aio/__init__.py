"""Many tasks on one storage, beside asynchronous drivers used call by call, on servers of its own.

A round is so many calls, spread evenly over the tasks; all tasks run in one event loop, and both
sides in the same one. What a driver needs for the same promise is done in one round trip: a
version beside the value, compared by a script in Redis and by the WHERE of an UPDATE in SQL.
PostgreSQL, MariaDB and SQLite wait for their disk at every commit, on both sides.
"""
