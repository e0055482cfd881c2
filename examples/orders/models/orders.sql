-- Every order as it stands now, with the time each step took. Late events move it, never back.
select payload.order_id                                                        as order_id,
       arg_max(event_type, (event_time, event_id))                             as status,
       any_value(tenant_id)                                                    as tenant_id,
       any_value(payload.address.country)                                      as country,
       any_value(payload.currency)                                             as currency,
       max(payload.amount)                                                     as amount,
       min(event_time) filter (event_type = 'order_created')                   as created_at,
       min(event_time) filter (event_type = 'payment_authorized')              as paid_at,
       min(event_time) filter (event_type = 'order_shipped')                   as shipped_at,
       min(event_time) filter (event_type = 'order_delivered')                 as delivered_at,
       min(event_time) filter (event_type = 'order_cancelled')                 as cancelled_at,
       count(*)                                                                as events
from silver.order_events
group by all
