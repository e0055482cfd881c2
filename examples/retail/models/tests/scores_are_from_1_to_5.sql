-- RFM scores are 1 to 5, nobody bought less than once, and the future has no customers.
select *
from gold.customer_rfm
where r not between 1 and 5 or f not between 1 and 5 or m not between 1 and 5 or frequency < 1 or recency_days < 1
