"""JSON and regular expressions; with PYTHONMALLOC=malloc every object is a malloc."""

import json
import re
import sys

people = [{"id": i, "name": f"user{i}", "tags": ["a", "b", str(i % 7)], "score": i / 3} for i in range(2000)]
text = json.dumps(people)
for _ in range(int(sys.argv[1])):
    assert len(json.dumps(json.loads(text))) == len(text)
    assert len(re.findall(r"user(\d+)", text)) == len(people)
