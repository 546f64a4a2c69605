"""`top`: a store, and the processes that use it, as they are now and change.

`exposition` reads what processes export, `samples` asks the store, `view` shows both.
"""
