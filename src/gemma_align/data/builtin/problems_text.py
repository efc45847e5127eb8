"""Families of problems about text and dictionaries."""

from gemma_align.data.builtin.problem import Family

TEXT = (
    Family(
        "count the vowels in a text, upper and lower case",
        ("count_vowels", "number_of_vowels"),
        """
def NAME(text):
    return sum(1 for letter in text.lower() if letter in "aeiou")
""",
        ("sentence",),
        {},
        ("",),
    ),
    Family(
        "reverse the order of the words in a sentence",
        ("reverse_words", "words_backwards"),
        """
def NAME(sentence):
    return " ".join(reversed(sentence.split()))
""",
        ("sentence",),
        {},
        ("",),
    ),
    Family(
        "check whether a word reads the same forwards and backwards, without regard to case",
        ("is_palindrome", "reads_the_same"),
        """
def NAME(word):
    word = word.lower()
    return word == word[::-1]
""",
        ("word",),
        {},
        ("Level",),
    ),
    Family(
        "find the letter that occurs most often in a word, the earliest one if several do",
        ("most_common_letter", "top_letter"),
        """
def NAME(word):
    best = word[0]
    for letter in word:
        if word.count(letter) > word.count(best):
            best = letter
    return best
""",
        ("word",),
        {},
        ("a",),
    ),
    Family(
        "shift every lowercase letter of a word {k} places forward in the alphabet, going from z back to a",
        ("shift_letters", "rotate_alphabet"),
        """
def NAME(word):
    shifted = ""
    for letter in word:
        shifted += chr((ord(letter) - ord("a") + {k}) % 26 + ord("a"))
    return shifted
""",
        ("word",),
        {"k": (1, 2, 3, 5, 13)},
        ("xyz",),
    ),
    Family(
        "find the longest word of a sentence, the first one if several are equally long",
        ("longest_word", "find_longest"),
        """
def NAME(sentence):
    return max(sentence.split(), key=len)
""",
        ("sentence",),
        {},
        ("one two",),
    ),
    Family(
        "count how often the letter '{c}' occurs in a text",
        ("count_letter", "letter_frequency"),
        """
def NAME(text):
    return text.count("{c}")
""",
        ("sentence",),
        {"c": ("a", "e", "o", "r", "t")},
        ("",),
    ),
    Family(
        "keep the words of a list that have more than {k} letters",
        ("long_words", "keep_long"),
        """
def NAME(words):
    return [word for word in words if len(word) > {k}]
""",
        ("words",),
        {"k": (3, 4, 5, 6)},
        ([],),
    ),
    Family(
        "check whether two words consist of the same letters in any order",
        ("are_anagrams", "same_letters"),
        """
def NAME(first, second):
    return sorted(first) == sorted(second)
""",
        ("word", "word"),
        {},
        ("listen", "silent"),
        related=True,
    ),
    Family(
        "write the first letter of every word in upper case and leave the rest as it is",
        ("capitalize_words", "title_words"),
        """
def NAME(sentence):
    return " ".join(word[0].upper() + word[1:] for word in sentence.split())
""",
        ("sentence",),
        {},
        ("",),
    ),
    Family(
        "compress a word by writing each run of equal letters as the letter and the length of the run",
        ("run_lengths", "compress"),
        """
def NAME(word):
    result = ""
    i = 0
    while i < len(word):
        j = i
        while j < len(word) and word[j] == word[i]:
            j += 1
        result += word[i] + str(j - i)
        i = j
    return result
""",
        ("word",),
        {},
        ("aaab",),
    ),
    Family(
        "exchange keys and values of a dictionary whose values are all different",
        ("swap_keys_and_values", "invert"),
        """
def NAME(mapping):
    return {{value: key for key, value in mapping.items()}}
""",
        ("ages",),
        {},
        ({},),
    ),
    Family(
        "group the words of a list by their first letter, as a dictionary of lists",
        ("group_by_letter", "by_initial"),
        """
def NAME(words):
    groups = {{}}
    for word in words:
        groups.setdefault(word[0], []).append(word)
    return groups
""",
        ("words",),
        {},
        ([],),
    ),
    Family(
        "write every second letter of a word in upper case, starting with the first, and the others in lower case",
        ("alternate_case", "zigzag_case"),
        """
def NAME(word):
    return "".join(c.upper() if i % 2 == 0 else c.lower() for i, c in enumerate(word))
""",
        ("word",),
        {},
        ("",),
    ),
    Family(
        "sort the words of a list by length, and words of equal length alphabetically",
        ("sort_by_length", "order_words"),
        """
def NAME(words):
    return sorted(words, key=lambda word: (len(word), word))
""",
        ("words",),
        {},
        ([],),
    ),
    Family(
        "find the names in a dictionary from names to ages that are at least {k} years old, in alphabetical order",
        ("at_least_age", "old_enough"),
        """
def NAME(ages):
    return sorted(name for name, age in ages.items() if age >= {k})
""",
        ("ages",),
        {"k": (18, 21, 30, 40)},
        ({},),
    ),
    Family(
        "turn a number of minutes into text such as 2:05, hours and two digits for the minutes",
        ("clock_text", "hours_and_minutes"),
        """
def NAME(minutes):
    return f"{{minutes // 60}}:{{minutes % 60:02d}}"
""",
        ("whole",),
        {},
        (0,),
    ),
    Family(
        "count how often each word occurs in a sentence, as a dictionary",
        ("word_counts", "tally_words"),
        """
def NAME(sentence):
    counts = {{}}
    for word in sentence.split():
        counts[word] = counts.get(word, 0) + 1
    return counts
""",
        ("sentence",),
        {},
        ("so so",),
    ),
)
