# Arrays of all sizes, linear algebra, sorting, text and threads, with every object of Python's from malloc.
# exit: 1
export PYTHONMALLOC=malloc
"$PYTHON" - <<'END'
import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np

random = np.random.default_rng(7)


def show(name, array):
    whole = array if array.dtype.kind in "iub" else np.round(np.abs(array), 6) + 0.0
    print(name, array.shape, hashlib.sha256(np.ascontiguousarray(whole).tobytes()).hexdigest())


matrix = random.integers(-9, 9, (300, 300)).astype(float)
show("product", matrix @ matrix)
show("inverse", matrix @ np.linalg.inv(matrix))
show("spectrum", np.fft.fft(random.integers(0, 9, 1 << 16)))
numbers = random.integers(0, 1 << 40, 1_000_000)
show("sorted", np.sort(numbers))
show("unique", np.unique(numbers % 1000, return_counts=True)[1])
words = np.char.add("word ", (numbers[:20000] % 997).astype(str))
print(len(np.unique(words)), words[np.argsort(words, kind="stable")][::4000])


def work(seed):
    rng, kept = np.random.default_rng(seed), []
    for i in range(400):
        kept.append(rng.integers(0, 100, rng.integers(1, 20000)))
        if len(kept) > 20:
            del kept[:: 1 + i % 3]
    return int(sum(array.sum() for array in kept))


with ThreadPoolExecutor(4) as pool:
    print(list(pool.map(work, range(8))))
END
echo "Now one that fails."
"$PYTHON" -c 'import numpy; numpy.zeros(3).reshape(2)' 2>/dev/null
