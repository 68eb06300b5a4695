"""Writes SQL for sqlite3: a table in memory with an index, filled row by row, then queried."""

import sys

rows = int(sys.argv[1])
print("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, value REAL); CREATE INDEX byname ON t (name); BEGIN;")
for i in range(rows):
    print(f"INSERT INTO t VALUES ({i}, 'name {i * 7919 % rows}', {i / 3});")
print("COMMIT; SELECT count(*), sum(value) FROM t WHERE name LIKE 'name 1%';")
