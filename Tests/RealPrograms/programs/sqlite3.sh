# 100,000 rows: inserted, indexed, joined, changed, dumped and checked.
packages='sqlite3'
executables='sqlite3'
limit=90

prepare() { :; }

run() {
  sqlite3 -batch rows.db <<'SQL'
    PRAGMA journal_mode = MEMORY;
    CREATE TABLE rows (id INTEGER PRIMARY KEY, name TEXT, amount INTEGER, note BLOB);
    INSERT INTO rows
      WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
      SELECT i, printf('name-%06d', (i * 7919) % 100003), (i * 104729) % 1000, zeroblob(i % 200) FROM n;
    CREATE INDEX by_name ON rows (name);
    CREATE INDEX by_amount ON rows (amount, name);
    SELECT count(*), sum(amount), min(name), max(name), sum(length(note)) FROM rows;
    SELECT amount, count(*), group_concat(substr(name, 6, 2), '') FROM rows WHERE amount < 5 GROUP BY amount;
    UPDATE rows SET name = name || '-' || amount WHERE id % 3 = 0;
    DELETE FROM rows WHERE amount BETWEEN 100 AND 199;
    SELECT count(*), count(DISTINCT a.name) FROM rows a JOIN rows b ON b.id = a.amount WHERE b.amount > 500;
    PRAGMA integrity_check;
SQL
  sqlite3 -batch rows.db .dump | sha256sum
}
