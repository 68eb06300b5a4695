// Two threads, each with a map, a list and a vector of strings of its own, filled, searched and summed: about ten million
// heap calls a second in all.
#include <atomic>
#include <cstdlib>
#include <functional>
#include <list>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

static std::atomic<std::size_t> total;

static void work(unsigned seed, int steps) {
    std::mt19937 random(seed);
    std::map<unsigned, std::string> index;
    std::list<std::string> recent;
    std::vector<std::string> table(1000);
    std::size_t sum = 0;
    for (int step = 0; step < steps; step++) {
        index[random() % 5000] = std::string(16 + random() % 100, 'm');
        recent.push_back(std::string(20 + random() % 60, 'l'));
        if (recent.size() > 500) recent.pop_front();
        table[random() % table.size()] = std::string(16 + random() % 300, 'v');
        if (step % 3 == 0) index.erase(index.begin());
        for (int look = 0; look < 16; look++) {
            auto found = index.find(random() % 5000);
            if (found != index.end()) sum += std::hash<std::string>()(found->second);
        }
    }
    total += sum;
}

int main(int, char **words) {
    int steps = std::atoi(words[1]);
    std::thread other(work, 1u, steps);
    work(2u, steps);
    other.join();
    return total == 0;
}
