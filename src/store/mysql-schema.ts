/** What stands in the database before the first request: kine's table (v0.16: names, types, character set and indexes,
 *  never change), ours beside it, and the procedures that write.
 *
 *  A write is one call of a procedure, so it is one message to the server and one transaction that the client cannot
 *  leave open, paused or dead. A procedure's body is part of the protocol between servers of different versions: never
 *  change one, add a `_v2`. Procedures, for a function's statements would all see the table as it was when the first
 *  began, also those after the lock. */
import { COMPACT_KEY, HEALTH_KEY, HEALTH_VALUE } from "./kine.ts"

export const TABLES = [
  `CREATE TABLE IF NOT EXISTS kine
  (
    id BIGINT UNSIGNED AUTO_INCREMENT,
    name VARCHAR(630) CHARACTER SET ascii,
    created INTEGER,
    deleted INTEGER,
    create_revision BIGINT UNSIGNED,
    prev_revision BIGINT UNSIGNED,
    lease INTEGER,
    value MEDIUMBLOB,
    old_value MEDIUMBLOB,
    PRIMARY KEY (id)
  ) ENGINE=InnoDB`,
  `CREATE TABLE IF NOT EXISTS keyturn_record (
    name VARCHAR(32) CHARACTER SET ascii PRIMARY KEY,
    version VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    value LONGBLOB NOT NULL
  ) ENGINE=InnoDB`,
  `CREATE TABLE IF NOT EXISTS keyturn_fence (
    id INTEGER PRIMARY KEY,
    fence VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin
  ) ENGINE=InnoDB`,
] as const

/** By their names. Only what is missing is created: to create an index waits for every transaction that writes, and all
 *  others wait behind it. */
export const INDEXES: Readonly<Record<string, string>> = {
  kine_name_index: "INDEX kine_name_index ON kine (name)",
  kine_name_id_index: "INDEX kine_name_id_index ON kine (name,id)",
  kine_id_deleted_index: "INDEX kine_id_deleted_index ON kine (id,deleted)",
  kine_prev_revision_index: "INDEX kine_prev_revision_index ON kine (prev_revision)",
  kine_name_prev_revision_uindex:
    "UNIQUE INDEX kine_name_prev_revision_uindex ON kine (name, prev_revision)",
}

export const INDEXES_THERE = `
SELECT DISTINCT index_name FROM information_schema.statistics
WHERE table_schema = DATABASE() AND table_name = 'kine'`

/** kine's own rows, and the one row that stands for the fence: NULL until there is one. */
export const FIRST_ROWS = [
  `DELETE FROM kine WHERE name = '${COMPACT_KEY}' AND id <> (SELECT id FROM (
    SELECT id FROM kine WHERE name = '${COMPACT_KEY}' ORDER BY prev_revision DESC, id LIMIT 1
  ) AS kept)`,
  firstRow(COMPACT_KEY, ""),
  firstRow(HEALTH_KEY, HEALTH_VALUE),
  `INSERT INTO keyturn_fence SELECT 1, NULL FROM (SELECT 1) AS one
   WHERE NOT EXISTS (SELECT 1 FROM keyturn_fence)`,
] as const

function firstRow(name: string, value: string): string {
  return `INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value, old_value)
    SELECT '${name}', 1, 0, 0, 0, 0, '${value}', NULL FROM (SELECT 1) AS one
    WHERE NOT EXISTS (SELECT 1 FROM kine WHERE name = '${name}')`
}

/** Before the first statement of a transaction; what fails takes all of it back. In READ COMMITTED each statement sees
 *  what was committed when it began. */
const BEGIN = `
  DECLARE EXIT HANDLER FOR SQLEXCEPTION BEGIN
    ROLLBACK;
    RESIGNAL;
  END;
  SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
  START TRANSACTION;`

/** From here to the end of the transaction the fence stays what it is. Every write holds it, also one that compares no
 *  fence: none that copied an old value may commit after somebody moved the fence and looked for such values. */
const HOLD_FENCE =
  "SELECT fence INTO current_fence FROM keyturn_fence WHERE id = 1 LOCK IN SHARE MODE;"
const FENCE = "VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin"

/** Answers with the outcome, and the new revision or the live entry that stood against it. */
const WRITE = `
CREATE PROCEDURE IF NOT EXISTS keyturn_write_v1(
  kind VARCHAR(6) CHARACTER SET ascii, my_name VARCHAR(630) CHARACTER SET ascii, my_fence ${FENCE},
  expected BIGINT UNSIGNED, ttl INTEGER, bytes MEDIUMBLOB
) SQL SECURITY INVOKER
BEGIN
  DECLARE current_fence ${FENCE};
  DECLARE head_id, born BIGINT UNSIGNED;
  DECLARE head_deleted INTEGER;
  DECLARE head_value MEDIUMBLOB;
  ${BEGIN}
  ${HOLD_FENCE}
  SELECT MAX(id) INTO head_id FROM kine WHERE name = my_name;
  IF head_id IS NOT NULL THEN
    SELECT deleted, CASE WHEN created = 1 THEN id ELSE create_revision END, value
      INTO head_deleted, born, head_value FROM kine WHERE id = head_id;
  END IF;
  IF my_fence IS NOT NULL AND NOT my_fence <=> current_fence THEN
    ROLLBACK;
    SELECT 'fenced', NULL, NULL, NULL, NULL;
  ELSEIF head_deleted = 0 AND (kind = 'create' OR head_id <> expected) THEN
    ROLLBACK;
    SELECT 'conflict', NULL, head_id, born, head_value;
  ELSEIF kind <> 'create' AND NOT head_deleted <=> 0 THEN
    ROLLBACK;
    SELECT 'conflict', NULL, NULL, NULL, NULL;
  ELSE
    INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value, old_value)
    VALUES (my_name, kind = 'create', kind = 'delete', IF(kind = 'update', born, 0),
      COALESCE(head_id, 0), ttl, bytes, head_value);
    COMMIT;
    SELECT 'done', LAST_INSERT_ID(), NULL, NULL, NULL;
  END IF;
END`

/** Answers with the newest revision under the exclusive lock, NULL where a compare failed; commits last of all. The
 *  records are JSON: [{name, version}], and with {value} in base64. */
const STEP = `
CREATE PROCEDURE IF NOT EXISTS keyturn_step_v1(
  compared LONGTEXT CHARACTER SET ascii, put LONGTEXT CHARACTER SET ascii,
  compares_fence INTEGER, expected_fence ${FENCE}, next_fence ${FENCE}
) SQL SECURITY INVOKER
BEGIN
  DECLARE current_fence ${FENCE};
  ${BEGIN}
  SELECT fence INTO current_fence FROM keyturn_fence WHERE id = 1 FOR UPDATE;
  IF EXISTS (
    SELECT 1 FROM JSON_TABLE(compared, '$[*]' COLUMNS (
      name VARCHAR(32) CHARACTER SET ascii PATH '$.name', version VARCHAR(64) CHARACTER SET ascii PATH '$.version'
    )) AS wanted LEFT JOIN keyturn_record AS r ON r.name = wanted.name
    WHERE NOT r.version <=> wanted.version COLLATE ascii_bin
  ) OR (compares_fence AND NOT expected_fence <=> current_fence) THEN
    ROLLBACK;
    SELECT NULL;
  ELSE
    REPLACE INTO keyturn_record (name, version, value)
      SELECT name, version, FROM_BASE64(value) FROM JSON_TABLE(put, '$[*]' COLUMNS (
        name VARCHAR(32) CHARACTER SET ascii PATH '$.name', version VARCHAR(64) CHARACTER SET ascii PATH '$.version',
        value LONGTEXT CHARACTER SET ascii PATH '$.value')) AS given;
    UPDATE keyturn_fence SET fence = next_fence WHERE id = 1 AND next_fence IS NOT NULL;
    SELECT COALESCE(MAX(id), 0) FROM kine;
    COMMIT;
  END IF;
END`

/** Answers with how many byte strings were replaced, NULL where the fence is another one. The replacements are JSON:
 *  [{id, is_value, expected, replacement}], the bytes in base64. */
const REWRITE = `
CREATE PROCEDURE IF NOT EXISTS keyturn_rewrite_v1(my_fence ${FENCE}, replacements LONGTEXT CHARACTER SET ascii)
SQL SECURITY INVOKER
BEGIN
  DECLARE current_fence ${FENCE};
  DECLARE replaced INTEGER;
  ${BEGIN}
  ${HOLD_FENCE}
  IF NOT my_fence <=> current_fence THEN
    ROLLBACK;
    SELECT NULL;
  ELSE
    ${replace("value", "is_value = 1")}
    SET replaced = ROW_COUNT();
    ${replace("old_value", "is_value = 0")}
    SET replaced = replaced + ROW_COUNT();
    COMMIT;
    SELECT replaced;
  END IF;
END`

function replace(column: string, isMeant: string): string {
  return `UPDATE JSON_TABLE(replacements, '$[*]' COLUMNS (
      id BIGINT UNSIGNED PATH '$.id', is_value INTEGER PATH '$.is_value',
      expected LONGTEXT CHARACTER SET ascii PATH '$.expected',
      replacement LONGTEXT CHARACTER SET ascii PATH '$.replacement')) AS r
    STRAIGHT_JOIN kine ON kine.id = r.id
    SET kine.${column} = FROM_BASE64(r.replacement)
    WHERE r.${isMeant} AND kine.${column} = FROM_BASE64(r.expected);`
}

/** kine's delete set for the revisions above the compacted one: what they replaced, and tombstones. Under the exclusive lock: of
 *  two that create a key again one could else find its tombstone and the other not, and the unique index would let both pass.
 *  The update locks the compacted revision, so that of two that compact at once the second does nothing. */
const COMPACT = `
CREATE PROCEDURE IF NOT EXISTS keyturn_compact_v1(compacted BIGINT UNSIGNED, target BIGINT UNSIGNED)
SQL SECURITY INVOKER
BEGIN
  DECLARE current_fence ${FENCE};
  ${BEGIN}
  SELECT fence INTO current_fence FROM keyturn_fence WHERE id = 1 FOR UPDATE;
  UPDATE kine SET prev_revision = target WHERE name = '${COMPACT_KEY}' AND prev_revision = compacted;
  IF ROW_COUNT() = 1 THEN
    DELETE kine FROM kine JOIN (
      SELECT prev_revision AS id FROM kine
      WHERE id > compacted AND id <= target AND NOT name <=> '${COMPACT_KEY}' AND prev_revision <> 0
      UNION SELECT id FROM kine
      WHERE id >= compacted AND id <= target AND deleted <> 0 AND id < (SELECT MAX(id) FROM kine)
    ) AS doomed ON kine.id = doomed.id;
  END IF;
  COMMIT;
END`

export const PROCEDURES = [WRITE, STEP, REWRITE, COMPACT] as const
