-- A sensor has one latest reading.
select sensor_id from gold.latest_readings group by all having count(*) > 1
