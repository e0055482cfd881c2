-- One row per stock code: its usual name, kind, usual price and the days it was first and last sold.
with named as (
    select stock_code, description, count(*) as times
    from silver.transactions
    where description is not null and quantity > 0 and unit_price > 0
    group by all
), best as (
    select stock_code, arg_max(description, (times, description)) as description
    from named
    group by stock_code
)
select t.stock_code,
       coalesce(any_value(b.description), any_value(t.stock_code))              as description,
       case
           when regexp_matches(t.stock_code, '^\d{5}|^DCGS|^PADS')  then 'article'
           when regexp_matches(t.stock_code, '^GIFT')               then 'voucher'
           when t.stock_code in ('POST', 'DOT', 'C2')               then 'postage'
           when t.stock_code in ('AMAZONFEE', 'BANK CHARGES', 'CRUK') then 'fee'
           else 'correction'
       end                                                                      as kind,
       quantile_disc(t.unit_price, 0.5) filter (where t.unit_price > 0)         as usual_price_gbp,
       min(t.invoice_date)::date                                                as first_day,
       max(t.invoice_date)::date                                                as last_day,
       count(*)                                                                 as lines
from silver.transactions t
left join best b using (stock_code)
group by t.stock_code
order by t.stock_code
