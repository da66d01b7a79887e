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
// change places.
template <bool weighted>
Cut cut(double *number, size_t count, double need) {
    auto measure = [](double v) { return weighted ? v : 1.0; };
    size_t first = 0, last = count;
    double above = 0;  // the measure of those before `first`
    for (uint64_t seed = count;;) {
        // Of three places that no input foresees: sorted or shaped like a saw, it would else take n² steps.
        auto any_of = [&] {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            return number[first + (seed >> 33) % (last - first)];
        };
        const double a = any_of(), b = any_of(), c = any_of();
        const double less = a < b ? a : b, more = a < b ? b : a;
        const double pivot = c < less ? less : c > more ? more : c;
        size_t high = first, at = first, low = last;
        double larger = 0;
        while (at < low) {
            const double v = number[at];
            if (v > pivot) {
                larger += measure(v);
                number[at++] = number[high];
                number[high++] = v;
            } else if (v < pivot) {
                number[at] = number[--low];
                number[low] = v;
            } else {
                ++at;
            }
        }
        if (high > first && above + larger >= need) {
            last = high;
            continue;
        }
        above += larger;
        for (size_t k = high; k < low; ++k)
            if ((above += measure(pivot)) >= need) return {pivot, k + 1 - high};
        if (low == last) return {pivot, low - high};  // the sum was rounded below what is needed
        first = low;
    }
}

// Put v into a heap whose least number is first, at `at` or below; what was there is gone. (Not the standard
// library's: its functions would be one text for all levels, compiled for any.)
INLINE void sink(double *heap, size_t count, size_t at, double v) {
    for (size_t below; (below = 2 * at + 1) < count; at = below) {
        below += below + 1 < count && heap[below + 1] < heap[below];
        if (!(heap[below] < v)) break;
        heap[at] = heap[below];
    }
    heap[at] = v;
}

// The k-th largest. Of a long row by a heap of the k largest so far, which few elements enter: unless they
// ascend, and then all are cut.
INLINE double least_of_top(const double *x, size_t length, size_t k, double *spare) {
    auto cut_all = [&] {
        std::memcpy(spare, x, length * sizeof(double));
        return cut<false>(spare, length, static_cast<double>(k)).least;
    };
    if (k > length / 16) return cut_all();
    std::memcpy(spare, x, k * sizeof(double));
    for (size_t at = k / 2; at-- > 0;) sink(spare, k, at, spare[at]);
    const size_t most = length / 4;
    size_t entered = 0;
    for_vectors<double>(length - k, [&](size_t i, size_t lanes) {
        const double *from = x + k + i;
        if (!any(load_lanes(from, lanes) > spare[0]) || entered > most) return;
        for (size_t j = 0; j < lanes; ++j) {
            if (!(from[j] > spare[0])) continue;
            sink(spare, k, 0, from[j]);
            ++entered;
        }
    });
    return entered > most ? cut_all() : spare[0];
}

INLINE void keep_top_p(double *weight, size_t length, double top_p, double *spare) {
    size_t count = 0;
    double total = 0;
    for (size_t i = 0; i < length; ++i) {
        spare[count] = weight[i];
        count += weight[i] > 0;
        total += weight[i];
    }
    const Cut kept = cut<true>(spare, count, top_p * total);
    size_t places = kept.places;  // of those that tie for the last ones, the first are kept
    for (size_t i = 0; i < length; ++i) {
        const bool is_last = weight[i] == kept.least;
        if (weight[i] < kept.least || (is_last && places == 0)) weight[i] = 0;
        places -= is_last && places > 0;
    }
}

}  // namespace stablesoftmax::LEVEL
