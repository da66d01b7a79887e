// Which classes are drawn from: the largest, or the likeliest that make up a share.
#pragma once

#include "vector.hpp"

namespace stablesoftmax::LEVEL {

// The least that is kept, and how many of those that are equal to it.
struct Cut {
    double least;
    size_t places;
};

// Of the largest numbers, as many as measure `need`: one each, or if `weighted` their own size. The numbers
// change places: those that are kept come first.
template <bool weighted>
Cut cut(double *number, size_t count, double need) {
    auto measure = [](double v) { return weighted ? v : 1.0; };
    size_t first = 0, last = count;
    double above = 0;  // the measure of those before `first`
    if (count == 0) return {0, 0};  // no row has none, unless another thread is writing NaN to it
    for (uint64_t seed = count;;) {
        // Of three places that no input foresees: sorted or shaped like a saw, it would else take n² steps.
        auto any_of = [&] {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            return number[first + (seed >> 33) % (last - first)];
        };
        const double a = any_of(), b = any_of(), c = any_of();
        const double less = a < b ? a : b, more = a < b ? b : a;
        const double pivot = c < less ? less : c > more ? more : c;
        size_t high = first;
        double larger = 0;
        for (size_t at = first; at < last; ++at) {  // no branch: half of them would be mispredicted
            const double v = number[at];
            const bool moves = v > pivot;
            number[at] = number[high];
            number[high] = v;
            high += moves;
            larger += moves ? measure(v) : 0;
        }
        if (high > first && above + larger >= need) {
            last = high;
            continue;
        }
        above += larger;
        size_t low = high;
        for (size_t at = high; at < last; ++at) {
            const double v = number[at];
            number[at] = number[low];
            number[low] = v;
            low += !(v < pivot);  // a NaN moves as well, or there might be no end
        }
        for (size_t k = high; k < low; ++k)
            if ((above += measure(pivot)) >= need) return {pivot, k + 1 - high};
        if (low == last) return {pivot, low - high};  // the sum was rounded below what is needed
        first = low;
    }
}

// The k-th largest, from a place where at least k candidates wait to be cut back to k of them.
INLINE double least_of_top(const double *x, size_t length, size_t k, double *waiting) {
    constexpr size_t few = 64;
    const size_t room = k > length / 2 ? length : length < 2 * k + few ? length : 2 * k + few;
    auto cut_back = [&](size_t count) { return cut<false>(waiting, count, static_cast<double>(k)).least; };
    std::memcpy(waiting, x, room * sizeof(double));
    if (room == length) return cut_back(room);
    double least = cut_back(room);
    size_t count = k;
    for_vectors<double>(length - room, [&](size_t i, size_t lanes) {
        const double *from = x + room + i;
        if (!any(load_lanes(from, lanes) > least)) return;
        for (size_t j = 0; j < lanes; ++j) {
            waiting[count] = from[j];
            count += from[j] > least;
        }
        if (count + Lanes<double>::count > room) least = cut_back(count), count = k;
    });
    return count > k ? cut_back(count) : least;
}

// The sums of weights from 1 down to 2^-64, by eighths of octaves: they tell where a share ends, but for the few
// weights of one part.
struct Octaves {
    static constexpr size_t parts = 512;
    double sum[parts] = {};

    static INLINE size_t part_of(double weight) {
        constexpr uint64_t one = 0x3ff0000000000000;
        uint64_t bits;
        std::memcpy(&bits, &weight, sizeof bits);
        const uint64_t below = (one - bits) >> 49;
        return below < parts ? below : parts - 1;
    }
};

// Of weights up to 1 those that make up the share `top_p`. Of a long row only the part in which the share ends
// is looked at one by one.
INLINE Cut share_of_top(const double *weight, size_t length, double top_p, double *spare) {
    constexpr size_t worth_it = 200;
    size_t count = 0;
    double total = 0, above = 0;
    if (length < worth_it) {
        for (size_t i = 0; i < length; ++i) {
            spare[count] = weight[i];
            count += weight[i] > 0;
            total += weight[i];
        }
        return cut<true>(spare, count, top_p * total);
    }
    Octaves octaves;
    for (size_t i = 0; i < length; ++i) octaves.sum[Octaves::part_of(weight[i])] += weight[i];
    for (double sum : octaves.sum) total += sum;
    const double need = top_p * total;
    size_t part = 0;
    while (part + 1 < Octaves::parts && !(above + octaves.sum[part] >= need)) above += octaves.sum[part++];
    for (size_t i = 0; i < length; ++i) {
        spare[count] = weight[i];
        count += (Octaves::part_of(weight[i]) == part) & (weight[i] > 0);
    }
    return cut<true>(spare, count, need - above);
}

INLINE void keep_top_p(double *weight, size_t length, double top_p, double *spare) {
    const Cut kept = share_of_top(weight, length, top_p, spare);
    size_t places = kept.places;  // of those that tie for the last ones, the first are kept
    for (size_t i = 0; i < length; ++i) {
        const bool is_last = weight[i] == kept.least;
        if (weight[i] < kept.least || (is_last && places == 0)) weight[i] = 0;
        places -= is_last && places > 0;
    }
}

}  // namespace stablesoftmax::LEVEL
