"""Natural batching: calls that meet while the store is busy travel together.

`calls` says what can travel together and takes a batch apart that fails; `combiner` has the
queues and the threads. Neither knows who waits for an answer: `statekeep.aio` does.
"""
