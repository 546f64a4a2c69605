"""What the `examine()` of several backends has in common: findings, rights, clocks, queues."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta

from attrs import frozen

from statekeep.backend import Backend
from statekeep.clock import MICROSECOND, to_micros
from statekeep.errors import CorruptValue, StorageError, Unavailable
from statekeep.findings import Finding, Severity
from statekeep.model import DeferredMessage, RecordKind

CHECKS = {
    "clock": "whether this machine's clock and the server's agree",
    "expired": "expired values whose space nobody took back",
    "queues": "messages that have been due for long, and that nobody claims",
    "leases": "messages whose worker never came back from a claim",
    "attempts": "messages that were claimed again and again",
}
"""What is looked at here, by the name that a finding has."""

SKEW_ADVICE = 1.0
SKEW_PROBLEM = 30.0
"""Seconds; the latter is the default lease."""

CROWDED = 0.9
"""The part of a server's connections in use from which on the rest is soon gone."""

OVERDUE = timedelta(minutes=5)
"""How long a message may be due before its queue counts as stuck."""

MANY_ATTEMPTS = 10
MOST_MESSAGES = 10_000
"""Messages of one queue that are looked at, and in a scan all together."""

MOST_QUEUES = 200
"""Queues that are looked at; each takes a statement."""

MANY_EXPIRED = 10_000
"""Expired values from which on a purge is advised; so many are counted at most."""

PAGE = 500
SHOWN = 3
"""Queues that a finding names."""


def good(check: str, found: str) -> Finding:
    """Nothing is to be done."""
    return Finding(check, Severity.GOOD, found)


def advice(check: str, found: str, meaning: str, remedy: str = "") -> Finding:
    """Something could be better."""
    return Finding(check, Severity.ADVICE, found, meaning, remedy)


def problem(check: str, found: str, meaning: str, remedy: str = "") -> Finding:
    """State can be lost, calls fail, or disk and memory fill up."""
    return Finding(check, Severity.PROBLEM, found, meaning, remedy)


def unknown(check: str, why: object, remedy: str = "") -> Finding:
    """It could not be looked at."""
    return Finding(check, Severity.UNKNOWN, str(why), "it could not be looked at", remedy)


def examined(looks: Iterable[tuple[str, Callable[[], Iterable[Finding]]]]) -> Iterator[Finding]:
    """The findings of several looks; one that the store refuses is unknown and stops no other.

    Args:
        looks: the name under which a refusal is told, and what looks.

    Raises:
        Unavailable: the store does not answer.
    """
    for check, look in looks:
        try:
            yield from look()
        except Unavailable:
            raise
        except CorruptValue as error:
            yield problem(check, str(error), "what is stored there cannot be read")
        except StorageError as error:
            yield unknown(check, error)


def clock(server: int, before: int, after: int, where: str = "the server") -> Finding:
    """How far this machine's clock is from a server's.

    Args:
        server: the server's time, in microseconds.
        before: this machine's, just before the server was asked.
        after: the same, just after it answered.
        where: which server it is.
    """
    off = server - before if server < before else max(server - after, 0)
    seconds = abs(off) / 1e6
    if seconds < SKEW_ADVICE:
        return good("clock", f"this machine and {where} agree to {(after - before) / 1e3:.0f} ms")
    which = "ahead of" if off > 0 else "behind"
    found = f"{where} is {seconds:.1f} s {which} this machine"
    meaning = (
        "leases and expiry go by the server's clock, but what is scheduled for an absolute time "
        "by this machine comes that much early or late"
    )
    severe = problem if seconds >= SKEW_PROBLEM else advice
    return severe("clock", found, meaning, "timedatectl set-ntp true (on the one that is wrong)")


def connections(
    check: str,
    limit: str,
    *,
    usable: int | None,
    used: int,
    pool: int | None,
    refusal: str,
    remedy: str,
) -> Finding:
    """A server's limit against this pool and what others use.

    Args:
        check: the name of the finding, which is that of the server's setting.
        limit: what the server's limit is, in words.
        usable: how many connections this user can have; None where the server does not tell.
        used: how many others have now.
        pool: the most that this process opens; None for no bound.
        refusal: what the server says to one too many.
        remedy: what gives room.
    """
    takes = "as many as there are callers" if pool is None else f"up to {pool}"
    found = f"{limit}, {used} in use by others now; this pool takes {takes}"
    if usable is None:
        return good(check, found)
    if (pool or 0) > usable:
        return problem(check, found, f"under load connecting fails: {refusal}", remedy)
    if used + (pool or 0) > CROWDED * usable:
        meaning = f"few are left for other workers; then connecting fails: {refusal}"
        return advice(check, found, meaning, remedy)
    return good(check, found)


def expired(count: int, whole: bool = True) -> Finding:
    """Values that have expired and are still there.

    Args:
        count: how many there are.
        whole: whether all were counted.
    """
    found = f"{'' if whole else 'at least '}{count} expired values are still stored"
    if count < MANY_EXPIRED:
        return good("expired", found if count else "none")
    return advice("expired", found, "they take space and slow scans down", "statekeep purge")


@frozen(kw_only=True)
class Queue:
    """What was found out about a queue's messages, the earliest ones first.

    Attributes:
        name: the queue.
        looked: how many messages were looked at.
        overdue: of these, those that could be claimed for longer than `OVERDUE`.
        oldest: since when the oldest of them could be claimed, in microseconds since 1970.
        abandoned: of the overdue ones, those whose last claim ended without a word.
        repeated: of those looked at, those that were claimed at least `MANY_ATTEMPTS` times.
        attempts: the most claims of one message.
    """

    name: str
    looked: int
    overdue: int = 0
    oldest: int = 0
    abandoned: int = 0
    repeated: int = 0
    attempts: int = 0

    @classmethod
    def of(cls, name: str, row: Sequence[int | None]) -> Queue:
        """A queue from the row of a store: `looked` and so on, in this order; None counts as 0."""
        looked, overdue, oldest, abandoned, repeated, attempts = (int(each or 0) for each in row)
        return cls(
            name=name,
            looked=looked,
            overdue=overdue,
            oldest=oldest,
            abandoned=abandoned,
            repeated=repeated,
            attempts=attempts,
        )


def queues(found: Iterable[Queue], now: int, bounded: str = "") -> Iterator[Finding]:
    """What the queues say about the workers that should empty them.

    Args:
        found: the queues.
        now: the server's time in microseconds.
        bounded: what was left out, where not everything was looked at.
    """
    several = list(found)
    looked = sum(each.looked for each in several)
    scope = f"{looked} messages of {len(several)} queues looked at{bounded and f', {bounded}'}"
    yield _stuck([each for each in several if each.overdue], now, scope)
    yield _abandoned([each for each in several if each.abandoned], scope)
    yield _repeated([each for each in several if each.repeated], scope)


def bounds(found: Sequence[Queue], more: bool, most: int | None = None) -> str:
    """What was left out of queues of which only the earliest messages were looked at.

    Args:
        found: the queues that were looked at.
        more: whether there are others.
        most: how many messages of each were looked at, if not `MOST_MESSAGES`.
    """
    most = MOST_MESSAGES if most is None else most
    long = any(each.looked >= most for each in found)
    left_out = [f"no more than {most} of each"] if long else []
    return " and ".join([*left_out, *(["not the other queues"] if more else [])])


def _stuck(stuck: list[Queue], now: int, scope: str) -> Finding:
    if not stuck:
        return good("queues", f"no message waits for long ({scope})")
    oldest = timedelta(microseconds=now - min(each.oldest for each in stuck))
    total = sum(each.overdue for each in stuck)
    return problem(
        "queues",
        f"{total} messages have been due for more than {_minutes(OVERDUE)}, the oldest for "
        f"{_minutes(oldest)}: {_named(stuck, lambda each: each.overdue)} ({scope})",
        "no worker claims from these queues, or too few do",
        f"statekeep deferred list {shlex.quote(stuck[0].name)} --limit 10; then start workers",
    )


def _abandoned(abandoned: list[Queue], scope: str) -> Finding:
    if not abandoned:
        return good("leases", f"no claim was left to run out ({scope})")
    total = sum(each.abandoned for each in abandoned)
    return advice(
        "leases",
        f"{total} claims ran out without a word and were not claimed again: "
        f"{_named(abandoned, lambda each: each.abandoned)} ({scope})",
        "their workers ended or hang, or take longer than their lease",
        "extend leases in long work (storage.deferred.extend), and start workers again",
    )


def _repeated(repeated: list[Queue], scope: str) -> Finding:
    if not repeated:
        return good("attempts", f"none was claimed {MANY_ATTEMPTS} times or more ({scope})")
    worst = max(repeated, key=lambda each: each.attempts)
    total, name = sum(each.repeated for each in repeated), shlex.quote(worst.name)
    return advice(
        "attempts",
        f"{total} messages were claimed at least {MANY_ATTEMPTS} times, one {worst.attempts} "
        f"times: {_named(repeated, lambda each: each.repeated)} ({scope})",
        "their work fails or outlasts its lease again and again",
        f"statekeep deferred list {name}; then mend the work, or: "
        f"statekeep deferred cancel {name} ID",
    )


def scanned(backend: Backend, now: int) -> Iterator[Finding]:
    """The same by reading messages, for a store that cannot say it: at most `MOST_MESSAGES`."""
    found: dict[str, Queue] = {}
    looked, cursor = 0, None
    while looked < MOST_MESSAGES:
        page = backend.scan(RecordKind.DEFERRED, prefix="", limit=PAGE, cursor=cursor)
        for record in page.items:
            assert isinstance(record, DeferredMessage)
            before = found.get(record.queue, Queue(name=record.queue, looked=0))
            found[record.queue] = with_message(before, now, record)
        looked, cursor = looked + len(page.items), page.cursor
        if cursor is None:
            break
    return queues(found.values(), now, "" if cursor is None else "and not the others")


def with_message(queue: Queue, now: int, message: DeferredMessage) -> Queue:
    """A queue with one more message looked at; `now` is the server's time in microseconds."""
    visible = to_micros(message.visible)
    late = visible <= now - OVERDUE // MICROSECOND
    return Queue(
        name=queue.name,
        looked=queue.looked + 1,
        overdue=queue.overdue + late,
        oldest=min(queue.oldest or visible, visible) if late else queue.oldest,
        abandoned=queue.abandoned + (late and bool(message.token)),
        repeated=queue.repeated + (message.attempt >= MANY_ATTEMPTS),
        attempts=max(queue.attempts, message.attempt),
    )


def _named(several: list[Queue], count: Callable[[Queue], int]) -> str:
    most = sorted(several, key=count, reverse=True)
    named = ", ".join(f"{count(each)} in {each.name!r}" for each in most[:SHOWN])
    return named + (f" and {len(most) - SHOWN} more queues" if len(most) > SHOWN else "")


def _minutes(duration: timedelta) -> str:
    minutes = duration // timedelta(minutes=1)
    return f"{minutes} minutes" if minutes < 120 else f"{minutes // 60} hours"
