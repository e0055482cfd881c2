-- Orders and revenue per day.
select ordered_at::date                                    as day,
       count(*)                                            as orders,
       sum(amount)                                         as revenue,
       sum(amount) filter (where status = 'returned')      as returned
from silver.orders
group by all
