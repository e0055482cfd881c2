-- A stock code is one row in the dimension and always has a name.
select stock_code, count(*) as copies, min(description) as description
from gold.dim_product
group by stock_code
having count(*) > 1 or min(description) is null
