"""Numbers the way people say them: seventy six, two point five, one thirty eight over eighty five, twenty fifteen."""

from gemma_align.data.numerals import ONES, TENS


def say(number: float) -> str:
    """A number from 0 to 9999; decimals are read digit by digit."""
    whole = int(number)
    if number != whole:
        digits = f"{number}".split(".")[1]
        return f"{say(whole) if whole else 'zero'} point {' '.join(ONES[int(d)] for d in digits)}"
    if whole < 20:
        return ONES[whole]
    if whole < 100:
        return TENS[whole // 10 - 2] + (f" {ONES[whole % 10]}" if whole % 10 else "")
    if whole < 1000:
        return f"{ONES[whole // 100]} hundred" + (f" {say(whole % 100)}" if whole % 100 else "")
    return f"{say(whole // 1000)} thousand" + (f" {say(whole % 1000)}" if whole % 1000 else "")


def say_year(year: int) -> str:
    """1998 nineteen ninety eight, 2008 two thousand eight, 2015 twenty fifteen."""
    if 2000 <= year < 2010:
        return say(2000) + (f" {ONES[year - 2000]}" if year > 2000 else "")
    return f"{say(year // 100)} {say(year % 100)}"


def say_pressure(number: int) -> str:
    """A reading the way it is called out: 138 one thirty eight, 104 one oh four, 85 eighty five, 100 one hundred."""
    if number < 100 or number % 100 == 0:
        return say(number)
    rest = number % 100
    return f"{ONES[number // 100]} {'oh ' if rest < 10 else ''}{say(rest)}"


def ordinal_times(number: int) -> str:
    """once, twice, three times."""
    return {1: "once", 2: "twice"}.get(number, f"{say(number)} times")
