-- Orders, revenue and cancellations by day of creation and currency.
select created_at::date                                           as day,
       currency,
       count(*)                                                   as orders,
       count(*) filter (cancelled_at is not null)                 as cancelled,
       coalesce(sum(amount) filter (paid_at is not null and cancelled_at is null), 0)::decimal(18, 2) as revenue,
       avg(epoch(delivered_at - created_at) / 86400)::double      as days_to_delivery
from gold.orders
where created_at is not null
group by all
