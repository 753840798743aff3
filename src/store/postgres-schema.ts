/** What stands in the database before the first request: kine's table (v0.16: names, types, collation and indexes,
 *  never change), ours beside it, and the functions that write.
 *
 *  A write is one call of a function, so it is one message to the server and one transaction that the client cannot
 *  leave open, paused or dead. A function's body is part of the protocol between servers of different versions: never
 *  change one, add a `_v2`. */
import { bug } from "../errors.ts"
import { COMPACT_KEY, HEALTH_KEY, HEALTH_VALUE } from "./kine.ts"

/** One lock for the fence, one for making the tables; per database. "keyt" in ASCII, and a number. */
const NAMESPACE = 0x6b657974
export const FENCE_LOCK = `${NAMESPACE}, 1`
const SCHEMA_LOCK = `${NAMESPACE}, 2`

/** Another server's announcement that something changed. */
export const CHANNEL = "keyturn"

const TABLES = [
  `TABLE kine
  (
    id BIGSERIAL PRIMARY KEY,
    name text COLLATE "C",
    created INTEGER,
    deleted INTEGER,
    create_revision BIGINT,
    prev_revision BIGINT,
    lease INTEGER,
    value bytea,
    old_value bytea
  )`,
  "INDEX kine_name_index ON kine (name)",
  "INDEX kine_name_id_index ON kine (name,id)",
  "INDEX kine_id_deleted_index ON kine (id,deleted)",
  "INDEX kine_prev_revision_index ON kine (prev_revision)",
  "UNIQUE INDEX kine_name_prev_revision_uindex ON kine (name, prev_revision)",
  "INDEX kine_list_query_index ON kine (name, id DESC, deleted)",
  "TABLE keyturn_record (name text PRIMARY KEY, version text NOT NULL, value bytea NOT NULL)",
  "TABLE keyturn_fence (id integer PRIMARY KEY CHECK (id = 1), fence text NOT NULL)",
] as const

/** Only what is missing is created: to create an index, even IF NOT EXISTS, waits for every transaction that writes,
 *  and all others wait behind it. */
const CREATE_MISSING = `
DO $$ BEGIN
${TABLES.map(createMissing).join("\n")}
END $$;
`

function createMissing(object: string): string {
  const [, name] = /(?:TABLE|INDEX) (\w+)/.exec(object) ?? bug(`no name in ${object}`)
  return `IF to_regclass('${name}') IS NULL THEN CREATE ${object}; END IF;`
}

const FIRST_ROWS = `
DELETE FROM kine WHERE name = '${COMPACT_KEY}' AND id <> (
  SELECT id FROM kine WHERE name = '${COMPACT_KEY}' ORDER BY prev_revision DESC, id LIMIT 1);
INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value, old_value)
  SELECT '${COMPACT_KEY}', 1, 0, 0, 0, 0, '', NULL
  WHERE NOT EXISTS (SELECT FROM kine WHERE name = '${COMPACT_KEY}');
INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value, old_value)
  SELECT '${HEALTH_KEY}', 1, 0, 0, 0, 0, '${HEALTH_VALUE}', NULL
  WHERE NOT EXISTS (SELECT FROM kine WHERE name = '${HEALTH_KEY}');
`

/** From here to the end of the transaction the fence stays what it is. Every write holds it, also one that compares no
 *  fence: none that copied an old value may commit after somebody moved the fence and looked for such values. */
const HOLD_FENCE = `
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'a fenced write needs READ COMMITTED' USING ERRCODE = 'feature_not_supported';
  END IF;
  PERFORM pg_advisory_xact_lock_shared(${FENCE_LOCK});`

/** A statement of its own: in READ COMMITTED a statement sees what was committed when it began, so one that began
 *  before the lock was given sees the fence before the last. */
const IS_FENCED = "NOT EXISTS (SELECT FROM keyturn_fence WHERE fence = my_fence)"

/** Returns the outcome, and the new revision or the live entry that stood against it. */
const WRITE = `
CREATE OR REPLACE FUNCTION keyturn_write_v1(
  kind text, my_name text, my_fence text, expected bigint, ttl integer, bytes bytea,
  OUT outcome text, OUT revision bigint, OUT live_revision bigint, OUT live_create_revision bigint, OUT live_value bytea
) LANGUAGE plpgsql AS $$
DECLARE
  head kine%ROWTYPE;
  born bigint;
BEGIN ${HOLD_FENCE}
  IF my_fence IS NOT NULL AND ${IS_FENCED} THEN
    outcome := 'fenced';
    RETURN;
  END IF;
  SELECT * INTO head FROM kine WHERE name = my_name ORDER BY id DESC LIMIT 1;
  born := CASE WHEN head.created = 1 THEN head.id ELSE head.create_revision END;
  IF head.deleted = 0 AND (kind = 'create' OR head.id <> expected) THEN
    outcome := 'conflict';
    live_revision := head.id;
    live_create_revision := born;
    live_value := head.value;
    RETURN;
  END IF;
  IF kind <> 'create' AND head.deleted IS DISTINCT FROM 0 THEN
    outcome := 'conflict';
    RETURN;
  END IF;
  INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value, old_value)
  VALUES (
    my_name,
    CASE kind WHEN 'create' THEN 1 ELSE 0 END,
    CASE kind WHEN 'delete' THEN 1 ELSE 0 END,
    CASE kind WHEN 'update' THEN born ELSE 0 END,
    COALESCE(head.id, 0), ttl, bytes, head.value)
  RETURNING id INTO revision;
  outcome := 'done';
END $$;
`

/** Reads the newest row of a key up to a revision, and where the table stands, of one snapshot; nothing where there is no such
 *  key. A function, for a session plans it once, behind a pooler too: planning costs more than reading. */
const HEAD = `
CREATE OR REPLACE FUNCTION keyturn_head_v1(
  my_name text, up_to bigint,
  OUT newest bigint, OUT compacted bigint, OUT revision bigint, OUT name text, OUT born bigint, OUT value bytea,
  OUT deleted integer
) RETURNS SETOF record LANGUAGE plpgsql STABLE ROWS 1 AS $$
BEGIN
  RETURN QUERY SELECT
    (SELECT MAX(id) FROM kine),
    (SELECT MAX(prev_revision) FROM kine AS c WHERE c.name = '${COMPACT_KEY}'),
    k.id, k.name, CASE WHEN k.created = 1 THEN k.id ELSE k.create_revision END, k.value, k.deleted
  FROM kine AS k WHERE k.name = my_name AND k.id <= up_to ORDER BY k.id DESC LIMIT 1;
END $$;
`

/** Returns the newest revision under the exclusive lock, NULL where a compare failed. A holder that does not let go
 *  keeps it from nobody else: waiting ends soon, and the caller tries again. */
const STEP = `
CREATE OR REPLACE FUNCTION keyturn_step_v1(
  names text[], versions text[], put_names text[], put_versions text[], put_values bytea[],
  compares_fence boolean, expected_fence text, next_fence text,
  OUT revision bigint
) LANGUAGE plpgsql SET lock_timeout = '100ms' AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(${FENCE_LOCK});
  IF EXISTS (
    SELECT FROM unnest(names, versions) AS wanted (name, version) LEFT JOIN keyturn_record AS r USING (name)
    WHERE r.version IS DISTINCT FROM wanted.version
  ) OR (compares_fence AND expected_fence IS DISTINCT FROM (SELECT fence FROM keyturn_fence)) THEN
    RETURN;
  END IF;
  INSERT INTO keyturn_record (name, version, value)
    SELECT * FROM unnest(put_names, put_versions, put_values)
    ON CONFLICT (name) DO UPDATE SET version = EXCLUDED.version, value = EXCLUDED.value;
  IF next_fence IS NOT NULL THEN
    INSERT INTO keyturn_fence (id, fence) VALUES (1, next_fence)
      ON CONFLICT (id) DO UPDATE SET fence = EXCLUDED.fence;
  END IF;
  SELECT COALESCE(MAX(id), 0) INTO revision FROM kine;
END $$;
`

/** Returns how many byte strings were replaced, NULL where the fence is another one. What stood there is told by its SHA-256, and the
 *  replacements are one byte string, with their `starts` (from 1) and `lengths`: an array of them would be text, which takes half of all
 *  the time. By `=` the digests could be what the rows are joined by, for which every value of the table would be read. */
const REWRITE = `
CREATE OR REPLACE FUNCTION keyturn_rewrite_v2(
  my_fence text, ids bigint[], is_value boolean[], expected bytea[], starts integer[], lengths integer[], replacements bytea,
  OUT replaced bigint
) LANGUAGE plpgsql AS $$
DECLARE
  count bigint;
BEGIN ${HOLD_FENCE}
  IF ${IS_FENCED} THEN
    RETURN;
  END IF;
  UPDATE kine SET value = substring(replacements FROM r.start FOR r.length)
    FROM unnest(ids, is_value, expected, starts, lengths) AS r (id, is_value, expected, start, length)
    WHERE r.is_value AND kine.id = r.id AND sha256(kine.value) IS NOT DISTINCT FROM r.expected;
  GET DIAGNOSTICS replaced = ROW_COUNT;
  UPDATE kine SET old_value = substring(replacements FROM r.start FOR r.length)
    FROM unnest(ids, is_value, expected, starts, lengths) AS r (id, is_value, expected, start, length)
    WHERE NOT r.is_value AND kine.id = r.id AND sha256(kine.old_value) IS NOT DISTINCT FROM r.expected;
  GET DIAGNOSTICS count = ROW_COUNT;
  replaced := replaced + count;
END $$;
`

/** kine's delete set for the revisions above the compacted one: what they replaced, and tombstones. To be called in a
 *  SERIALIZABLE transaction, as kine compacts. Under the exclusive lock: of two that create a key again one could else find
 *  its tombstone and the other not, and the unique index would let both pass. */
const COMPACT = `
CREATE OR REPLACE FUNCTION keyturn_compact_v1(compacted bigint, target bigint) RETURNS void
LANGUAGE plpgsql SET lock_timeout = '100ms' AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(${FENCE_LOCK});
  UPDATE kine SET prev_revision = target WHERE name = '${COMPACT_KEY}' AND prev_revision = compacted;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  DELETE FROM kine WHERE id IN (
    SELECT prev_revision FROM kine
    WHERE id > compacted AND id <= target AND name <> '${COMPACT_KEY}' AND prev_revision <> 0
    UNION SELECT id FROM kine
    WHERE id >= compacted AND id <= target AND deleted <> 0 AND id < (SELECT MAX(id) FROM kine));
END $$;
`

/** One transaction; servers that start together take turns. */
const inTurn = (statements: string): string =>
  `BEGIN; SELECT pg_advisory_xact_lock(${SCHEMA_LOCK}); ${statements} COMMIT`

const EVERY_FUNCTION = HEAD + WRITE + STEP + REWRITE + COMPACT
export const FUNCTIONS = inTurn(EVERY_FUNCTION)
export const SCHEMA = inTurn(CREATE_MISSING + FIRST_ROWS + EVERY_FUNCTION)
