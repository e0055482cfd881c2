-- Recency, frequency and money of each known customer who ever bought: scores 1 (low) to 5 (high) and a segment.
-- Days count to the day after the newest invoice, so the same data always gives the same scores.
with bought as (
    select customer_id,
           max(invoice_date) filter (where quantity > 0)               as last_bought,
           count(distinct invoice_no) filter (where quantity > 0)      as frequency,
           sum(quantity * unit_price)::decimal(18, 3)                  as monetary_gbp
    from silver.transactions
    where customer_id is not null
    group by customer_id
    having count(*) filter (where quantity > 0) > 0
), scored as (
    select customer_id,
           date_diff('day', last_bought::date, (select max(invoice_date)::date from silver.transactions)) + 1 as recency_days,
           frequency,
           monetary_gbp,
           ntile(5) over (order by last_bought, customer_id)           as r,
           ntile(5) over (order by frequency, customer_id)             as f,
           ntile(5) over (order by monetary_gbp, customer_id)          as m
    from bought
)
select customer_id,
       recency_days,
       frequency,
       monetary_gbp,
       r::integer as r,
       f::integer as f,
       m::integer as m,
       case
           when r >= 4 and f + m >= 8  then 'Champions'
           when r >= 3 and f + m >= 7  then 'Loyal'
           when r <= 2 and f + m >= 7  then 'At risk'
           when r = 5 and f <= 2       then 'New'
           when r >= 4                 then 'Promising'
           when r = 3                  then 'Needs attention'
           when f + m >= 5             then 'About to sleep'
           else 'Hibernating'
       end as segment
from scored
order by customer_id
