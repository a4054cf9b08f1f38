"""The programs in README, for the tests that run them.

Usage: readme.py LANGUAGE WORDS...: prints the only block of this language that has all the words.
"""

import re
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
# The section: other sections have blocks of these languages too.
SECTION = "## REST, SyftHub and browsers\n"


def block(language, *words, lacks=None):
    _, _, rest = README.read_text().partition(SECTION)
    section = rest.partition("\n## ")[0]
    found = [
        text
        for text in re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
        if all(word in text for word in words) and not (lacks and lacks in text)
    ]
    if len(found) != 1:
        sys.exit(f"README has {len(found)} blocks of {language} with {words} under {SECTION!r}")
    return found[0]


if __name__ == "__main__":
    sys.stdout.write(block(*sys.argv[1:]))
