-- Per sensor: how much was heard of it, how much is missing by its own count, its longest silence, and its drift.
with steps as (
    select *, measured_at - lag(measured_at) over (partition by sensor_id order by measured_at) as silence
    from silver.sensor_readings
)
select sensor_id,
       count(*)                                                             as readings,
       max(sequence) - min(sequence) + 1 - count(*)                         as missing,
       coalesce(epoch(max(silence)), 0)::double                             as longest_silence_s,
       coalesce(regr_slope(temperature_c, epoch(measured_at)) * 86400, 0)   as drift_c_per_day,
       avg(temperature_c)                                                   as temperature_c,
       coalesce(stddev_samp(temperature_c), 0)                              as temperature_stddev_c,
       min(battery_pct)                                                     as battery_pct
from steps
group by all
