-- headgate: {incremental: day, from: "invoice_date::date", source: transactions}
-- Revenue and returns per day, in pounds. Only days whose lines changed are computed again.
select invoice_date::date                                                                  as day,
       coalesce(sum(quantity * unit_price) filter (where quantity > 0), 0)::decimal(18, 3)  as revenue_gbp,
       coalesce(-sum(quantity * unit_price) filter (where quantity < 0), 0)::decimal(18, 3) as returns_gbp,
       sum(quantity * unit_price)::decimal(18, 3)                                           as net_gbp,
       count(distinct invoice_no) filter (where quantity > 0)                               as invoices,
       count(distinct invoice_no) filter (where quantity < 0)                               as credit_notes,
       count(distinct customer_id)                                                          as customers,
       coalesce(sum(quantity) filter (where quantity > 0), 0)::bigint                       as pieces_sold,
       count(*)                                                                             as lines
from silver.transactions
group by day
