-- Every silver line is in exactly one day, one country and one customer row.
with counts as (
    select 'silver' as cut, count(*)::bigint as lines from silver.transactions
    union all select 'day', sum(lines)::bigint from gold.daily_revenue
    union all select 'country', sum(lines)::bigint from gold.revenue_by_country
    union all select 'customer', sum(lines)::bigint from gold.revenue_by_customer
    union all select 'product', sum(lines)::bigint from gold.dim_product
)
select * from counts where lines is distinct from (select lines from counts where cut = 'silver')
