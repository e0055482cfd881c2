-- Air quality by station and month.
select station,
       date_trunc('month', measured_at)::date   as month,
       count(*)                                 as hours,
       avg(pm2_5)                               as pm2_5,
       max(pm2_5)                               as pm2_5_highest,
       count(*) filter (pm2_5 is null)          as hours_without_pm2_5,
       sum(rain_mm)                             as rain_mm
from silver.air_quality
group by all
