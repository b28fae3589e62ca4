"""Write orders.csv, the sample data of the demo and the documents: a year of an invented coffee roaster's orders.

Always the same bytes: `python3 examples/make_orders.py` prints what the checked-in file holds.
"""
from __future__ import annotations

import datetime
import random
import sys

SEED = 20260209
ORDERS = 320
DAYS = 365
FIRST_DAY = datetime.date(2025, 1, 1)
# product, cents for a kilogram, how often it is bought
PRODUCTS = (("House Blend", 1890, 9), ("Sidamo", 2650, 5), ("Huila Decaf", 2340, 3), ("Monsoon Malabar", 2480, 2),
            ("Geisha Reserve", 8900, 1))
CITIES = ("Bergen", "Ghent", "Lyon", "Porto", "Trieste", "Utrecht")
KILOGRAMS = (1, 1, 1, 2, 2, 3, 5, 10)


def orders() -> list[str]:
    """Return the lines of the file, header first, in order of the day."""
    dice = random.Random(SEED)
    # Cafes buy more towards the end of the year: a day is drawn as the later of two.
    days = sorted(max(dice.randrange(DAYS), dice.randrange(DAYS)) for _ in range(ORDERS))
    weights = [product[2] for product in PRODUCTS]
    lines = ["order,day,city,product,kilograms,euros_per_kilogram"]
    for number, day in enumerate(days, 1001):
        product, cents, _ = dice.choices(PRODUCTS, weights)[0]
        date = FIRST_DAY + datetime.timedelta(days=day)
        lines.append("%d,%s,%s,%s,%d,%d.%02d" % (number, date.isoformat(), dice.choice(CITIES), product,
                                                dice.choice(KILOGRAMS), cents // 100, cents % 100))
    return lines


if __name__ == "__main__":
    sys.stdout.write("\n".join(orders()) + "\n")
