-- Revenue and returns per known customer, in pounds; lines of guests stand in one row without a customer.
select customer_id,
       coalesce(sum(quantity * unit_price) filter (where quantity > 0), 0)::decimal(18, 3)  as revenue_gbp,
       coalesce(-sum(quantity * unit_price) filter (where quantity < 0), 0)::decimal(18, 3) as returns_gbp,
       sum(quantity * unit_price)::decimal(18, 3)                                           as net_gbp,
       count(distinct invoice_no) filter (where quantity > 0)                               as invoices,
       min(invoice_date)::date                                                              as first_day,
       max(invoice_date)::date                                                              as last_day,
       count(*)                                                                             as lines
from silver.transactions
group by customer_id
order by net_gbp desc, customer_id
