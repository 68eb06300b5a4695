# A million rows: inserted, indexed, grouped, joined, rolled back, deleted, vacuumed.
# needs: sqlite3
# exit: 1
sqlite3 :memory: ".read $REPOSITORY/traces/programs/orders.sql"
sqlite3 -bail million.db <<'END'
pragma cache_size = -40000;
create table t as with recursive n(i) as (select 1 union all select i + 1 from n where i < 1000000)
  select i, i * 7919 % 1000003 as key, hex(i % 977) as word from n;
create index by_key on t(key);
select count(*), sum(key), min(word), max(word) from t;
select word, count(*), sum(i) from t group by word order by 3 desc limit 5;
select count(*) from t as a join t as b on b.key = a.i where a.i % 100 = 0;
begin; update t set word = word || 'x' where i % 70 = 0; rollback;
delete from t where i % 3 = 0;
vacuum;
pragma integrity_check;
select count(*), sum(length(word)) from t;
END
echo "Now one that fails."
sqlite3 million.db 'select * from nothing' 2>/dev/null
