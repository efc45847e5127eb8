"""Families of problems about lists and matrices of numbers."""

from gemma_align.data.builtin.problem import Family

LISTS = (
    Family(
        "find the sum of all numbers in a list that are divisible by {k}",
        ("sum_divisible", "add_multiples", "total_of_multiples"),
        """
def NAME(numbers):
    return sum(n for n in numbers if n % {k} == 0)
""",
        ("numbers",),
        {"k": (2, 3, 4, 5, 6, 7)},
        ([],),
    ),
    Family(
        "find the second largest distinct number of a list, or None if there is none",
        ("second_largest", "runner_up"),
        """
def NAME(numbers):
    distinct = sorted(set(numbers))
    return distinct[-2] if len(distinct) > 1 else None
""",
        ("numbers",),
        {},
        ([4, 4],),
    ),
    Family(
        "compute the running totals of a list",
        ("running_totals", "cumulative_sums"),
        """
def NAME(numbers):
    totals = []
    total = 0
    for n in numbers:
        total += n
        totals.append(total)
    return totals
""",
        ("numbers",),
        {},
        ([],),
    ),
    Family(
        "remove duplicates from a list and keep the order of first appearance",
        ("unique_in_order", "drop_repeats"),
        """
def NAME(items):
    seen = []
    for item in items:
        if item not in seen:
            seen.append(item)
    return seen
""",
        ("numbers",),
        {},
        ([7, 7, 7],),
    ),
    Family(
        "split a list into consecutive pieces of length {k}, where the last one may be shorter",
        ("split_into_pieces", "make_chunks"),
        """
def NAME(items):
    return [items[i:i + {k}] for i in range(0, len(items), {k})]
""",
        ("numbers",),
        {"k": (2, 3, 4)},
        ([],),
    ),
    Family(
        "move the first {k} items of a list to its end",
        ("rotate_left", "shift_items"),
        """
def NAME(items):
    if not items:
        return []
    k = {k} % len(items)
    return items[k:] + items[:k]
""",
        ("numbers",),
        {"k": (1, 2, 3, 4)},
        ([],),
    ),
    Family(
        "merge two sorted lists into one sorted list",
        ("merge_sorted", "join_in_order"),
        """
def NAME(left, right):
    merged = []
    i = j = 0
    while i < len(left) and j < len(right):
        if left[i] <= right[j]:
            merged.append(left[i])
            i += 1
        else:
            merged.append(right[j])
            j += 1
    return merged + left[i:] + right[j:]
""",
        ("sorted", "sorted"),
        {},
        ([], [1]),
    ),
    Family(
        "swap rows and columns of a matrix given as a list of rows",
        ("transpose", "swap_rows_and_columns"),
        """
def NAME(rows):
    return [list(column) for column in zip(*rows)]
""",
        ("rows",),
    ),
    Family(
        "find the greatest common divisor of all numbers in a list of positive numbers",
        ("gcd_of_list", "common_divisor"),
        """
def NAME(numbers):
    result = 0
    for n in numbers:
        while n:
            result, n = n, result % n
    return result
""",
        ("sorted",),
        {},
        ([12],),
    ),
    Family(
        "replace each number of a list by the largest seen so far",
        ("running_max", "largest_so_far"),
        """
def NAME(numbers):
    result = []
    for n in numbers:
        result.append(n if not result else max(n, result[-1]))
    return result
""",
        ("numbers",),
        {},
        ([],),
    ),
    Family(
        "count the pairs of positions in a list whose numbers add up to {k}",
        ("count_pairs", "pairs_with_sum"),
        """
def NAME(numbers):
    count = 0
    for i in range(len(numbers)):
        for j in range(i + 1, len(numbers)):
            if numbers[i] + numbers[j] == {k}:
                count += 1
    return count
""",
        ("numbers",),
        {"k": (5, 7, 10, 12, 15)},
        ([],),
    ),
    Family(
        "list in ascending order the numbers that two lists share, each once",
        ("shared_numbers", "common_items"),
        """
def NAME(first, second):
    return sorted(set(first) & set(second))
""",
        ("numbers", "numbers"),
        {},
        ([], [3]),
    ),
    Family(
        "limit every number of a list to the range from {low} to {high}",
        ("limit_values", "clamp_all"),
        """
def NAME(numbers):
    return [min(max(n, {low}), {high}) for n in numbers]
""",
        ("numbers",),
        {"low": (-3, 0, 2, 3), "high": (8, 10, 12, 15)},
        ([],),
    ),
    Family(
        "find the position of the first number in a list that is greater than {k}, or -1 if there is none",
        ("first_greater", "position_above"),
        """
def NAME(numbers):
    for i, n in enumerate(numbers):
        if n > {k}:
            return i
    return -1
""",
        ("numbers",),
        {"k": (3, 5, 8, 10, 12)},
        ([],),
    ),
    Family(
        "add up the main diagonal of a matrix given as a list of rows",
        ("diagonal_sum", "trace_of"),
        """
def NAME(rows):
    return sum(row[i] for i, row in enumerate(rows) if i < len(row))
""",
        ("rows",),
    ),
)
