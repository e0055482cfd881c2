-- One row per known customer: latest country, first and last invoice, segment.
select t.customer_id,
       arg_max(t.country, (t.invoice_date, t.line_id))              as country,
       min(t.invoice_date)                                          as first_invoice_at,
       max(t.invoice_date)                                          as last_invoice_at,
       count(distinct t.invoice_no) filter (where t.quantity > 0)   as invoices,
       count(distinct t.country)                                    as countries,
       coalesce(any_value(r.segment), 'Only returns')               as segment
from silver.transactions t
left join gold.customer_rfm r using (customer_id)
where t.customer_id is not null
group by t.customer_id
order by t.customer_id
