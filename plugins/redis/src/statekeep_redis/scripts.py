"""The Lua scripts, each one atomic call to the server; their texts are in `lua/`."""

from __future__ import annotations

import hashlib
from importlib.resources import files

from attrs import frozen


@frozen
class Script:
    """A script and the name under which Redis caches it."""

    name: str
    text: bytes
    sha: bytes

    @classmethod
    def load(cls, name: str) -> Script:
        """The script in `lua/<name>.lua`."""
        text = (files(__package__) / "lua" / f"{name}.lua").read_bytes()
        sha = hashlib.sha1(text, usedforsecurity=False).hexdigest()
        return cls(name, text, sha.encode())


COMMIT = Script.load("commit")
PUT = Script.load("put")
UPDATES = Script.load("updates")
CLAIM = Script.load("claim")
PURGE = Script.load("purge")
MEMBERS = Script.load("members")
CHECK = Script.load("check")

TEXTS = {script.sha: script.text for script in (COMMIT, PUT, UPDATES, CLAIM, PURGE, MEMBERS, CHECK)}
