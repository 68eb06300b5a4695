-- A shop in memory: inserts, indexes, joins, a rollback, deletes.
create table customer(id integer primary key, name text, city text);
create table orders(id integer primary key, customer int, item text, price real);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 3000)
insert into customer select i, 'customer ' || i, 'city ' || (i * 7919 % 97) from n;
with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000)
insert into orders select i, 1 + i * 7919 % 3000, 'item ' || (i * 104729 % 500), i % 113 * 1.25 from n;
create index by_customer on orders(customer);
create index by_item on orders(item, price);
select city, count(*), sum(price), group_concat(distinct item) from customer join orders on customer.id = customer group by city order by 2 desc limit 5;
begin;
update orders set price = price * 2, item = item || ' (new)' where id % 3 = 0;
rollback;
delete from orders where id % 5 = 0;
select name, max(price) from customer join orders on customer.id = customer where item like '%7%' group by name order by 2 desc, 1 limit 5;
