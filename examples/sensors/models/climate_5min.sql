-- Temperature and humidity by place in buckets of five minutes.
select time_bucket(interval '5 minutes', measured_at)   as bucket,
       place,
       count(*)                                         as readings,
       avg(temperature_c)                               as temperature_c,
       min(temperature_c)                               as coldest_c,
       max(temperature_c)                               as hottest_c,
       avg(humidity_pct)                                as humidity_pct
from silver.sensor_readings
group by all
