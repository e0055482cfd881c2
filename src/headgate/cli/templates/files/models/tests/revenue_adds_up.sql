-- Daily revenue must add up to the orders.
select * from (select (select sum(revenue) from gold.daily_revenue) as model, (select sum(amount) from silver.orders) as orders)
where model <> orders
