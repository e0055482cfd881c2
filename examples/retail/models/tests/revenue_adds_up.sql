-- Cut by day, country, product or customer, the money is the same to the last tenth of a penny.
with sums as (
    select 'silver' as cut, sum(quantity * unit_price)::decimal(18, 3) as net_gbp from silver.transactions
    union all select 'day', sum(net_gbp)::decimal(18, 3) from gold.daily_revenue
    union all select 'country', sum(net_gbp)::decimal(18, 3) from gold.revenue_by_country
    union all select 'product', sum(net_gbp)::decimal(18, 3) from gold.revenue_by_product
    union all select 'customer', sum(net_gbp)::decimal(18, 3) from gold.revenue_by_customer
)
select * from sums where net_gbp is distinct from (select net_gbp from sums where cut = 'silver')
