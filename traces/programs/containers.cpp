// Two threads on standard containers: maps, strings, lists and vectors that grow, shrink and change hands.
#include <list>
#include <map>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

static std::mutex door;
static std::list<std::vector<std::string>> parcels; // made by one thread, often freed by the other

static void work(unsigned seed, int steps) {
    std::mt19937 random(seed);
    std::map<unsigned, std::string> index;
    for (int step = 0; step < steps; step++) {
        unsigned key = random() % 4000;
        index[key] += std::string(1 + random() % 40, 'x');
        if (index[key].size() > 400) index.erase(key);
        if (step % 16) continue;
        std::vector<std::string> parcel;
        for (unsigned i = 0; i < random() % 24; i++) parcel.emplace_back(random() % 120, 'y');
        std::lock_guard<std::mutex> inside(door);
        parcels.push_back(std::move(parcel));
        if (parcels.size() > 200) parcels.erase(parcels.begin(), std::next(parcels.begin(), 100));
    }
}

int main() {
    std::thread other(work, 1u, 60000);
    work(2u, 60000);
    other.join();
    return parcels.empty();
}
