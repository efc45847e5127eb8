"""Families of problems about single numbers."""

from gemma_align.data.builtin.problem import Family

NUMBERS = (
    Family(
        "check whether a positive whole number is a power of {k}",
        ("is_power", "check_power"),
        """
def NAME(n):
    while n % {k} == 0:
        n //= {k}
    return n == 1
""",
        ("whole",),
        {"k": (2, 3, 5, 7)},
        (1,),
    ),
    Family(
        "add up the decimal digits of a whole number",
        ("digit_sum", "add_digits"),
        """
def NAME(n):
    return sum(int(digit) for digit in str(n))
""",
        ("whole",),
        {},
        (0,),
    ),
    Family(
        "count the steps until a positive number reaches 1, "
        "where even numbers are halved and odd numbers become three times themselves plus 1",
        ("count_steps", "steps_to_one"),
        """
def NAME(n):
    steps = 0
    while n != 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        steps += 1
    return steps
""",
        ("small",),
        {},
        (1,),
    ),
    Family(
        "write a whole number in base {k} as a string of digits",
        ("to_base", "digits_in_base"),
        """
def NAME(n):
    if n == 0:
        return "0"
    digits = ""
    while n > 0:
        digits = str(n % {k}) + digits
        n //= {k}
    return digits
""",
        ("whole",),
        {"k": (2, 3, 5, 8)},
        (0,),
    ),
    Family(
        "list all prime numbers below n",
        ("primes_below", "list_primes"),
        """
def NAME(n):
    primes = []
    for candidate in range(2, n):
        if all(candidate % p for p in primes):
            primes.append(candidate)
    return primes
""",
        ("small",),
        {},
        (2,),
    ),
    Family(
        "count the divisors of a positive whole number",
        ("count_divisors", "number_of_divisors"),
        """
def NAME(n):
    return sum(1 for d in range(1, n + 1) if n % d == 0)
""",
        ("small",),
        {},
        (1,),
    ),
    Family(
        "list the first n terms of the sequence that starts with {a} and {b}, "
        "where each later term is the sum of the two before it",
        ("first_terms", "sequence_terms"),
        """
def NAME(n):
    terms = [{a}, {b}]
    while len(terms) < n:
        terms.append(terms[-1] + terms[-2])
    return terms[:n]
""",
        ("small",),
        {"a": (0, 1, 2, 3), "b": (1, 2, 4, 5)},
        (1,),
    ),
)
