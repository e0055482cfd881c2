-- What comes back: per product the pieces and pounds returned, and the share of the pieces sold.
select t.stock_code,
       any_value(p.description)                                                    as description,
       (-sum(t.quantity) filter (where t.quantity < 0))::bigint                    as pieces_returned,
       coalesce(sum(t.quantity) filter (where t.quantity > 0), 0)::bigint          as pieces_sold,
       (-sum(t.quantity * t.unit_price) filter (where t.quantity < 0))::decimal(18, 3) as returns_gbp,
       count(distinct t.invoice_no) filter (where t.quantity < 0)                  as credit_notes,
       round(-100.0 * sum(t.quantity) filter (where t.quantity < 0)
             / nullif(sum(t.quantity) filter (where t.quantity > 0), 0), 2)::double as returned_percent
from silver.transactions t
join gold.dim_product p using (stock_code)
group by t.stock_code
having count(*) filter (where t.quantity < 0) > 0
order by returns_gbp desc, t.stock_code
