-- Revenue, returns and pieces per stock code, in pounds, with the product's name.
select t.stock_code,
       any_value(p.description)                                                                as description,
       coalesce(sum(t.quantity * t.unit_price) filter (where t.quantity > 0), 0)::decimal(18, 3)  as revenue_gbp,
       coalesce(-sum(t.quantity * t.unit_price) filter (where t.quantity < 0), 0)::decimal(18, 3) as returns_gbp,
       sum(t.quantity * t.unit_price)::decimal(18, 3)                                             as net_gbp,
       coalesce(sum(t.quantity) filter (where t.quantity > 0), 0)::bigint                         as pieces_sold,
       count(distinct t.invoice_no) filter (where t.quantity > 0)                                 as invoices
from silver.transactions t
join gold.dim_product p using (stock_code)
group by t.stock_code
order by net_gbp desc, t.stock_code
