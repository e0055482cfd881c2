-- Revenue, returns and customers per country, in pounds.
select country,
       coalesce(sum(quantity * unit_price) filter (where quantity > 0), 0)::decimal(18, 3)  as revenue_gbp,
       coalesce(-sum(quantity * unit_price) filter (where quantity < 0), 0)::decimal(18, 3) as returns_gbp,
       sum(quantity * unit_price)::decimal(18, 3)                                           as net_gbp,
       count(distinct invoice_no) filter (where quantity > 0)                               as invoices,
       count(distinct customer_id)                                                          as customers,
       count(*)                                                                             as lines
from silver.transactions
group by country
order by net_gbp desc, country
