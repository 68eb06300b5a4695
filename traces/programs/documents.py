"""JSON documents made, written, parsed and searched with regular expressions."""

import json
import random
import re

random.seed(7)
words = ["".join(random.choices("abcdefghijklmnop", k=random.randint(2, 12))) for _ in range(800)]


def document(depth: int) -> object:
    if depth == 0:
        return random.choice([random.random(), random.choice(words), None, random.randint(0, 10**9)])
    if random.random() < 0.5:
        return {random.choice(words): document(depth - 1) for _ in range(random.randint(1, 6))}
    return [document(depth - 1) for _ in range(random.randint(1, 6))]


kept: list[object] = []
found = 0
for _ in range(24):
    text = json.dumps([document(4) for _ in range(4)])
    kept.append(json.loads(text))
    found += len(re.findall(r'"([a-f]+)": (\d+)', text))
    found += len(re.sub(r"[aeiou]+", "*", text).split("*"))
    if len(kept) > 20:
        kept = kept[10:]
print(found)
