"""The same calls while a storage grows to ten million keys and a set to a million members.

`python -m benchmarks.growth`; it takes some half an hour and 10 GB of disk, so it is no part of
`make bench`. Beside the storage that grows is one that stays small, and calls on the two take
turns: what else the machine does meets both alike, and their ratio is what growth costs.
"""
