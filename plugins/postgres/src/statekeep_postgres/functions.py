"""The functions in the database: a transaction is one call of one of them, in one round trip.

Every statement in a function sees what was committed before it began, also where the one before
it waited for a lock (READ COMMITTED). So: lock everything in an order that all agree on, and look
at it only then.
"""

from __future__ import annotations

from statekeep.clock import MAX_MICROS
from statekeep.sql.batch import (
    CANCELLED,
    CONFLICTING,
    DELETE,
    DELETED,
    DROP,
    EXTEND,
    LOST,
    PUT,
    RELEASE,
    RESTORE,
    WRITE,
    WRITE_LATER,
    WRITTEN,
)

from statekeep_postgres.names import Names, quote

NOW = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
"""The server's clock in microseconds, at this moment."""

STATEMENT_NOW = "(extract(epoch FROM statement_timestamp()) * 1000000)::bigint"
"""The same for all rows of a statement."""

SHARD = "(get_byte({hash}, 0) << 8) | get_byte({hash}, 1)"
"""The row of the floor table for a key, from its SHA-256: 65536 of them, so that two deletions
hardly ever wait for each other, and the table stays within a few megabytes for ever."""

COMMIT_TAKES = (
    *("int4[]", "int2[]", "text[]", "int8[]", "bytea[]", "int8[]", "int8[]"),
    *("int4[]", "int2[]", "text[]", "text[]", "text[]", "int8[]", "int8[]", "int4[]", "text[]"),
    *("bytea[]", "bool[]"),
    *("int4[]", "text[]", "bytea[]", "bool[]"),
)
COMMIT_GIVES = ("int2", "int4", "int8")

COMMIT = """
CREATE OR REPLACE FUNCTION {commit}(
    -- values: transaction, what to do, key, expected version, value, time to live or end, version
    v_tx int[], v_do smallint[], v_key text[], v_expected bigint[], v_value bytea[],
    v_until bigint[], v_version bigint[],
    -- messages: transaction, what to do, queue, id, token that must be the latest, due or delay,
    -- visible, attempt, token to write, payload, whether to say if it was there
    m_tx int[], m_do smallint[], m_queue text[], m_id text[], m_token text[], m_due bigint[],
    m_visible bigint[], m_attempt int[], m_holder text[], m_payload bytea[], m_ask boolean[],
    -- sets: transaction, key, member, whether it is in afterwards
    s_tx int[], s_key text[], s_member bytea[], s_in boolean[]
) RETURNS TABLE (what smallint, item int, result bigint)
LANGUAGE plpgsql VOLATILE AS $body$
DECLARE
    t bigint;
    raw bigint[];    -- the version in each row; 0 in one that was inserted only to be locked
    cur bigint[];    -- the version as callers see it: 0 where it has expired
    there boolean[]; -- whether each message is there
    lost boolean[];
    bad int[] := '{{}}';
BEGIN
    -- Lock every row, and insert an empty one where there is none to lock: so an absent key stays
    -- absent until the end. All in the order of the keys, present or not, so that two transactions
    -- never wait for each other: values, messages, floors, members. An update whose WHERE is false
    -- locks its row and writes nothing.
    IF cardinality(v_key) > 0 THEN
        INSERT INTO {key_value} AS r (key, version, value)
            SELECT i.key, 0, '' FROM unnest(v_key) AS i (key) ORDER BY i.key COLLATE "C"
            ON CONFLICT (key) DO UPDATE SET version = 0 WHERE false;
    END IF;
    IF cardinality(m_id) > 0 THEN
        INSERT INTO {deferred} AS r (queue, id, due, visible, attempt, token, payload)
            SELECT i.queue, i.id, 0, 0, -1, '', '' FROM unnest(m_queue, m_id) AS i (queue, id)
            ORDER BY i.queue COLLATE "C", i.id COLLATE "C"
            ON CONFLICT (queue, id) DO UPDATE SET attempt = 0 WHERE false;
    END IF;
    t := {now};

    -- Conditions. A transaction of which one fails is bad, and nothing of it is applied.
    IF cardinality(v_key) > 0 THEN
        SELECT array_agg(r.version ORDER BY i.n),
               array_agg(CASE WHEN r.expires <= t THEN 0 ELSE r.version END ORDER BY i.n)
            INTO raw, cur
            FROM unnest(v_key) WITH ORDINALITY AS i (key, n) JOIN {key_value} r ON r.key = i.key;
        SELECT array_agg(i.tx) INTO bad FROM unnest(v_tx, v_expected, cur) AS i (tx, expected, cur)
            WHERE i.expected <> i.cur;
        IF bad IS NULL THEN
            bad := '{{}}';
        ELSE
            RETURN QUERY SELECT {conflicting}::smallint, i.n::int, i.cur
                FROM unnest(v_expected, cur) WITH ORDINALITY AS i (expected, cur, n)
                WHERE i.expected <> i.cur;
        END IF;
    END IF;
    IF cardinality(m_id) > 0 THEN
        SELECT array_agg(r.attempt >= 0 ORDER BY i.n),
               array_agg(i.token IS NOT NULL AND (r.attempt < 0 OR r.token <> i.token) ORDER BY i.n)
            INTO there, lost
            FROM unnest(m_queue, m_id, m_token) WITH ORDINALITY AS i (queue, id, token, n)
            JOIN {deferred} r ON r.queue = i.queue AND r.id = i.id;
        IF true = ANY (lost) THEN
            RETURN QUERY SELECT {lost}::smallint, i.n::int, 0::bigint
                FROM unnest(lost) WITH ORDINALITY AS i (lost, n) WHERE i.lost;
            SELECT bad || array_agg(i.tx) INTO bad
                FROM unnest(m_tx, lost) AS i (tx, lost) WHERE i.lost;
        END IF;
    END IF;

    -- Values.
    IF {restore} = ANY (v_do) THEN
        INSERT INTO {floor} AS f (shard, version)
            SELECT {shard}, max(i.version) FROM (
                SELECT sha256(convert_to(r.key, 'UTF8')) AS hash, r.version
                FROM unnest(v_tx, v_do, v_key, v_version) AS j (tx, what, key, version)
                JOIN {key_value} r ON r.key = j.key
                WHERE j.what = {restore} AND r.version > j.version AND j.tx <> ALL (bad)
            ) AS i GROUP BY 1 ORDER BY 1
            ON CONFLICT (shard) DO UPDATE SET version = excluded.version
            WHERE f.version < excluded.version;
    END IF;
    IF {put} = ANY (v_do) OR {restore} = ANY (v_do) THEN
        RETURN QUERY UPDATE {key_value} r SET
                version = CASE
                    WHEN i.what = {restore} THEN i.version
                    WHEN i.cur > 0 THEN r.version + 1
                    ELSE greatest(t, r.version + 1, 1 + (
                        SELECT f.version FROM {floor} f, sha256(convert_to(i.key, 'UTF8')) AS h
                        WHERE f.shard = {shard_of_h}
                    )) END,
                value = i.value,
                expires = CASE
                    WHEN i.until IS NULL THEN NULL
                    WHEN i.what = {restore} THEN i.until
                    ELSE least(t + i.until, {max}) END
            FROM unnest(v_tx, v_do, v_key, v_value, v_until, v_version, cur)
                WITH ORDINALITY AS i (tx, what, key, value, until, version, cur, n)
            WHERE r.key = i.key AND i.what IN ({put}, {restore}) AND i.tx <> ALL (bad)
            RETURNING {written}::smallint, i.n::int, r.version;
    END IF;
    IF {delete} = ANY (v_do) THEN
        RETURN QUERY SELECT {deleted}::smallint, i.n::int, 0::bigint
            FROM unnest(v_tx, v_do, cur) WITH ORDINALITY AS i (tx, what, cur, n)
            WHERE i.what = {delete} AND i.cur > 0 AND i.tx <> ALL (bad);
    END IF;
    IF {delete} = ANY (v_do) OR 0 = ANY (raw) THEN -- and the rows inserted only to be locked
        DELETE FROM {key_value} r USING unnest(v_tx, v_do, v_key) AS i (tx, what, key)
            WHERE r.key = i.key
            AND ((i.what = {delete} AND i.tx <> ALL (bad)) OR r.version = 0);
    END IF;

    -- Messages.
    IF cardinality(m_id) > 0 THEN
        RETURN QUERY SELECT {cancelled}::smallint, i.n::int, 0::bigint
            FROM unnest(m_tx, m_ask, there) WITH ORDINALITY AS i (tx, ask, there, n)
            WHERE i.ask AND i.there AND i.tx <> ALL (bad);
        UPDATE {deferred} r SET
                due = CASE i.what
                    WHEN {write} THEN i.due
                    WHEN {write_later} THEN least(t + i.due, {max})
                    ELSE r.due END,
                visible = CASE i.what
                    WHEN {write} THEN i.visible
                    ELSE least(t + i.due, {max}) END,
                attempt = CASE WHEN i.what IN ({write}, {write_later})
                    THEN i.attempt ELSE r.attempt END,
                token = CASE WHEN i.what = {extend} THEN r.token ELSE i.holder END,
                payload = CASE WHEN i.what IN ({write}, {write_later})
                    THEN i.payload ELSE r.payload END
            FROM unnest(m_tx, m_do, m_queue, m_id, m_due, m_visible, m_attempt, m_holder, m_payload)
                AS i (tx, what, queue, id, due, visible, attempt, holder, payload)
            WHERE r.queue = i.queue AND r.id = i.id AND i.tx <> ALL (bad)
            AND i.what IN ({write}, {write_later}, {release}, {extend});
        DELETE FROM {deferred} r USING unnest(m_tx, m_do, m_queue, m_id) AS i (tx, what, queue, id)
            WHERE r.queue = i.queue AND r.id = i.id
            AND ((i.what = {drop} AND i.tx <> ALL (bad)) OR r.attempt = -1);
    END IF;

    -- Members: inserting or locking each keeps a removal and an addition by others apart.
    IF cardinality(s_key) > 0 THEN
        INSERT INTO {key_set} AS r (key, member)
            SELECT i.key, i.member FROM unnest(s_tx, s_key, s_member) AS i (tx, key, member)
            WHERE i.tx <> ALL (bad) ORDER BY i.key COLLATE "C", i.member
            ON CONFLICT (key, member) DO UPDATE SET member = excluded.member WHERE false;
        IF false = ANY (s_in) THEN
            DELETE FROM {key_set} r
                USING unnest(s_tx, s_key, s_member, s_in) AS i (tx, key, member, stays)
                WHERE r.key = i.key AND r.member = i.member AND NOT i.stays AND i.tx <> ALL (bad);
        END IF;
    END IF;
END
$body$
"""

KEEP_FLOOR = """
CREATE OR REPLACE FUNCTION {keep_floor}() RETURNS trigger
LANGUAGE plpgsql VOLATILE AS $body$
BEGIN
    -- Whoever deletes a value, a person at a prompt included, its version is never given out again
    -- for its key, not even where the clock is set back: creations begin above the floor.
    INSERT INTO {floor} AS f (shard, version)
        SELECT {shard}, max(i.version) FROM (
            SELECT sha256(convert_to(o.key, 'UTF8')) AS hash, o.version
            FROM gone o WHERE o.version > 0
        ) AS i GROUP BY 1 ORDER BY 1
        ON CONFLICT (shard) DO UPDATE SET version = excluded.version
        WHERE f.version < excluded.version;
    RETURN NULL;
END
$body$
"""

TRIGGER = """
CREATE TRIGGER {trigger} AFTER DELETE ON {key_value}
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION {keep_floor}()
"""


def filled_in(sql: str, names: Names) -> str:
    """SQL of this module for these names."""
    return sql.format(
        commit=names.q(names.commit),
        keep_floor=names.q(names.keep_floor),
        trigger=quote(names.keep_floor),
        key_value=names.q(names.key_value),
        key_set=names.q(names.key_set),
        deferred=names.q(names.deferred),
        floor=names.q(names.floor),
        now=NOW,
        max=MAX_MICROS,
        shard=SHARD.format(hash="i.hash"),
        shard_of_h=SHARD.format(hash="h"),
        put=PUT,
        delete=DELETE,
        restore=RESTORE,
        write=WRITE,
        write_later=WRITE_LATER,
        drop=DROP,
        release=RELEASE,
        extend=EXTEND,
        written=WRITTEN,
        deleted=DELETED,
        conflicting=CONFLICTING,
        lost=LOST,
        cancelled=CANCELLED,
    )
