-- A customer is one row in the dimension and at most one in the segments.
select 'dim_customer' as model, customer_id, count(*) as copies from gold.dim_customer group by all having count(*) > 1
union all
select 'customer_rfm', customer_id, count(*) from gold.customer_rfm group by all having count(*) > 1
