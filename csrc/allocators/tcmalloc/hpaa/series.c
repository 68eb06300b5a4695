/* What a number was, over time, in epochs: its extremes in each of the last ones. In an epoch without a report it was
 * what it was before, which the next epoch with one remembers; or nothing at all, if it is one of the moment. */
#include "allocators/tcmalloc/hpaa/pages.h"

#include "base/align.h"

void al_hp_series_report(hp_series *series, uint64_t now, size_t value) {
    const uint64_t number = now / series->step + 1;
    hp_epoch *epoch = &series->epochs[number % series->count];
    const size_t first = series->momentary ? 0 : series->value;
    if (epoch->number != number) *epoch = (hp_epoch){number, first, first, first};
    epoch->least = al_min(epoch->least, value);
    epoch->most = al_max(epoch->most, value);
    series->value = value;
}

static void add(hp_summary *summary, size_t least, size_t most) {
    summary->least = al_min(summary->least, least);
    summary->most = al_max(summary->most, most);
    summary->swing = al_max(summary->swing, most - least);
    summary->steady = al_max(summary->steady, least);
}

/* Backwards: what it was at the end of an epoch is what it was at the start of the one after. */
hp_summary al_hp_series_over(const hp_series *series, uint64_t now, uint64_t nanoseconds) {
    const uint64_t last = now / series->step + 1;
    uint64_t epochs = (nanoseconds + series->step - 1) / series->step;
    if (epochs > series->count) epochs = series->count;
    size_t value = series->momentary ? 0 : series->value;
    hp_summary summary = {value, value, 0, 0};
    for (uint64_t number = last; number > 0 && last - number < epochs; number--) {
        const hp_epoch *epoch = &series->epochs[number % series->count];
        if (epoch->number == number) {
            add(&summary, epoch->least, epoch->most);
            value = epoch->first;
        } else {
            add(&summary, value, value);
        }
    }
    return summary;
}
