-- What each sensor said last, by its own clock.
select sensor_id,
       max(measured_at)                     as measured_at,
       arg_max(place, measured_at)          as place,
       arg_max(temperature_c, measured_at)  as temperature_c,
       arg_max(humidity_pct, measured_at)   as humidity_pct,
       arg_max(battery_pct, measured_at)    as battery_pct
from silver.sensor_readings
group by all
