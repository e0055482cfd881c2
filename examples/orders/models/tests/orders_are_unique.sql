-- An order stands in gold once.
select order_id from gold.orders group by all having count(*) > 1
