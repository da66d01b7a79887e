// The entropy of a row's softmax, in doubles: log1p(r) + Σ e·gap / (1 + r), where e = exp(x - max),
// gap = max - x, and r the sum of all e but the maximum's own. No term is negative, so a distribution
// that is nearly certain keeps its digits: [0, -40] has 1.7e-16 and not 0.
#pragma once

#include "rows.hpp"

namespace stablesoftmax::LEVEL {

constexpr size_t entropy_block = 512;  // elements at a time; they stay in the first cache

template <class S>
struct EntropyRow {
    static constexpr double infinity = std::numeric_limits<double>::infinity();
    // exp is taken this many binades higher, so that none that counts is subnormal: e^-745 is 2^-1075.
    static constexpr double lift = 500;

    const Row &row;
    size_t included = 0, peaks = 0, place = 0;  // the block with the first maximum
    bool has_nan = false;
    double max = -infinity;
    alignas(64) double x[entropy_block + 64];  // with room for whole vectors

    explicit EntropyRow(const Row &row) : row(row) {}

    size_t fetch(size_t begin) {
        const size_t count = row.length - begin < entropy_block ? row.length - begin : entropy_block;
        const ptrdiff_t at = static_cast<ptrdiff_t>(begin);
        gather<S, double>(row.x + at * row.x_step, row.x_step, x, count);
        if (row.where)
            for (size_t i = 0; i < count; ++i)
                if (!row.where[(at + static_cast<ptrdiff_t>(i)) * row.where_step]) x[i] = -infinity;
        return count;
    }

    void find_maximum() {
        included = row.where ? 0 : row.length;
        for (size_t begin = 0; begin < row.length; begin += entropy_block) {
            const size_t count = fetch(begin);
            if (row.where)
                for (size_t i = 0; i < count; ++i)
                    included += row.where[static_cast<ptrdiff_t>(begin + i) * row.where_step] != 0;
            Vector<double> high = broadcast(-infinity);
            Bits<double> unordered{};
            for_vectors<double>(count, [&](size_t i, size_t lanes) {
                const Vector<double> element = first_lanes<double>(load(x + i), lanes, -infinity);
                high = high < element ? element : high;
                unordered |= element != element;
            });
            has_nan = has_nan || any(unordered);
            double block = -infinity;
            for (size_t j = 0; j < Lanes<double>::count; ++j) block = block < high[j] ? high[j] : block;
            if (block == infinity)
                for (size_t i = 0; i < count; ++i) peaks += x[i] == infinity;
            if (block > max) max = block, place = begin;
        }
    }

    // exp and gap of the elements below the maximum; no division is exact, and at T = 1 there is none.
    template <bool tempered>
    double sum() {
        const Exponential<double, false, false> exponential({Vector<double>{}, broadcast(-lift)});
        const Vector<double> temperature = broadcast(row.temperature < 0 ? 0 : row.temperature);
        Accumulator<double> others, moments;
        for (size_t begin = 0; begin < row.length; begin += entropy_block) {
            const size_t count = fetch(begin);
            if (begin == place) leave_out_maximum(count);
            for_vectors<double>(count, [&](size_t i, size_t lanes) {
                const Vector<double> element = first_lanes<double>(load(x + i), lanes, -infinity);
                const Pair<double> difference = two_sum<double>(element, broadcast(-max));
                Vector<double> below = difference.head, low = difference.tail;
                if constexpr (tempered) {
                    const Vector<double> divided = below / temperature;  // 0 / 0 and inf / inf are NaN
                    below = below == 0 || below == -infinity ? below : divided;
                    low = Vector<double>{};
                }
                const Bits<double> nothing = exponential.is_nothing(below);
                const Rounded<double> e = rounded(without(exponential.template term<true>(below, low), nothing));
                others.add(e);
                const Vector<double> gap = nothing ? Vector<double>{} : -below;
                const Pair<double> moment = two_product<double>(e.head, gap);
                const Vector<double> rest = e.rest * gap - e.head * (nothing ? Vector<double>{} : low);
                moments.add(Rounded<double>{moment.head, moment.tail + rest});
            });
            others.settle();
            moments.settle();
        }
        return finish(others.along(), moments.along());
    }

    void leave_out_maximum(size_t count) {
        for (size_t i = 0; i < count; ++i)
            if (x[i] == max) {
                x[i] = -infinity;
                return;
            }
    }

    static double finish(Sum<double, Vector<double>> others, Sum<double, Vector<double>> moments) {
        const double down = 0x1p-500;
        const Vector<double> r = others.head * down, r_rest = others.rest * down;
        const Pair<double> log = log1p(r, r_rest), all = two_sum<double>(broadcast(1.0), r);
        const Pair<double> mean = quotient(moments.head * down, moments.rest * down, all.head, all.tail + r_rest);
        const Pair<double> entropy = two_sum<double>(log.head, mean.head);
        return (entropy.head + (entropy.tail + (log.tail + mean.tail)))[0];
    }

    double entropy() {
        find_maximum();
        if (has_nan) return std::numeric_limits<double>::quiet_NaN();
        if (included == 0 || peaks == 1) return 0;
        if (peaks > 1 || max == -infinity) return std::numeric_limits<double>::quiet_NaN();
        return row.temperature == 1 ? sum<false>() : sum<true>();
    }
};

template <class S>
void entropy_row(const Row &row, const Context &) {
    double y[64] = {EntropyRow<S>(row).entropy()};  // with room for a whole vector
    scatter<S, double>(y, row.y, row.y_step, 1);
}

}  // namespace stablesoftmax::LEVEL
