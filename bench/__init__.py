"""Speed, as ratios to the limit and to peers measured in the same run: `python -m bench [HOP]`."""
