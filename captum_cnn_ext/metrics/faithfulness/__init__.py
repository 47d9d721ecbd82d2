"""Does the score follow the map? Metrics that change the image where it is high or low.

`curves` deletes and inserts pixel by pixel, `confidence` keeps what the map keeps, `road` and
`single_deletion` replace parts, `arcc` makes one number of three. All of them read scores through
`scoring`. Open `curves` first.
"""
