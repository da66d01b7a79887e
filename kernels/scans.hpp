// Scans: the log-sum-exp of every prefix of a row, in doubles.
//
// The state is the maximum so far, its term, and the sum of all other terms, all at one shift: no step
// multiplies, so no error grows with the length. The shift moves only when an element is too far above
// it, and what came before then counts for less than e^-600 of each later term.
#pragma once

#include "rows.hpp"

namespace stablesoftmax::LEVEL {

constexpr size_t scan_block = 256;  // elements at a time; they stay in the first cache

struct ScanNumber {  // an unevaluated sum
    double head = 0, tail = 0;

    void add(double value, double rest) {
        const double sum = head + value, part = sum - head;
        tail += ((head - (sum - part)) + (value - part)) + rest;
        head = sum + tail;
        tail -= head - sum;
    }

    void multiply(Rounded<double> factor) {
        Pair<double> product = two_product<double>(broadcast(head), factor.head);
        tail = product.tail[0] + (head * factor.rest[0] + tail * factor.head[0]);
        head = product.head[0];
    }
};

struct Scan {
    static constexpr double infinity = std::numeric_limits<double>::infinity();
    static constexpr double reach = 600;  // above the shift, short of overflow

    double max = -infinity;    // of the numbers so far; NaN from the first NaN on
    double limit = -infinity;  // up to here elements can be added at the shift
    ScanNumber top, others;    // the maximum's term, and the sum of the rest
    Shift<double> shift{};

    // What the results of a block are made of.
    struct Prefixes {
        double max[scan_block], top[scan_block], top_rest[scan_block], others[scan_block], others_rest[scan_block];
    };

    void absorb(const double *x, size_t count, double *y) {
        for (size_t i = 0; i < count;) {
            size_t end = i;
            while (end < count && x[end] <= limit) ++end;
            run(x + i, end - i, y + i);
            i = end;
            if (i < count) admit(x[i]);
            for (; i < count && max != max; ++i) y[i] = max;
        }
    }

    // Make ready for an element above the limit, or for a NaN.
    void admit(double x) {
        if (!(x < infinity)) {
            max = max != max ? max : x;
            limit = infinity;
            return;
        }
        const Shift<double> next = shift_at<double>(broadcast(x));
        if (max > -infinity) {
            const Exponential<double, false, false> change({next.center, next.exponent - shift.exponent});
            const Term<double> power = change.template term<false>(shift.center, Vector<double>{});
            const Rounded<double> factor = rounded(without(power, change.is_nothing(shift.center)));
            top.multiply(factor);
            others.multiply(factor);
        }
        shift = next;
        limit = x + reach;
    }

    // Elements up to the limit.
    void run(const double *x, size_t count, double *y) {
        if (limit == -infinity || max == infinity) {  // nothing but -inf so far; or it is settled
            for (size_t i = 0; i < count; ++i) y[i] = max;
            return;
        }
        Prefixes prefixes;
        sum(x, count, prefixes);
        finish(prefixes, count, y);
    }

    void sum(const double *x, size_t count, Prefixes &prefixes) {
        double term[scan_block], rest[scan_block];
        const Exponential<double, false, false> exponential(shift);
        for_vectors<double>(count, [&](size_t i, size_t lanes) {
            const Vector<double> element = load_lanes(x + i, lanes);
            const Rounded<double> e = rounded(exponential.template term<false>(element, Vector<double>{}));
            const Bits<double> nothing = exponential.is_nothing(element);  // nor a thousand of them
            store_lanes(term + i, nothing ? Vector<double>{} : e.head, lanes);
            store_lanes(rest + i, nothing ? Vector<double>{} : e.rest, lanes);
        });
        for (size_t i = 0; i < count; ++i) {
            ScanNumber mine;
            mine.add(term[i], rest[i]);
            if (x[i] > max) {
                others.add(top.head, top.tail);
                top = mine;
                max = x[i];
            } else {
                others.add(mine.head, mine.tail);
            }
            prefixes.max[i] = max;
            prefixes.top[i] = top.head, prefixes.top_rest[i] = top.tail;
            prefixes.others[i] = others.head, prefixes.others_rest[i] = others.tail;
        }
    }

    static void finish(const Prefixes &prefixes, size_t count, double *y) {
        for_vectors<double>(count, [&](size_t i, size_t lanes) {
            const Pair<double> log =
                log1p_ratio(load_lanes(prefixes.others + i, lanes), load_lanes(prefixes.others_rest + i, lanes),
                            load_lanes(prefixes.top + i, lanes), load_lanes(prefixes.top_rest + i, lanes));
            const Vector<double> max = load_lanes(prefixes.max + i, lanes);
            const Pair<double> result = two_sum<double>(max, log.head);
            store_lanes(y + i, max == -infinity ? max : result.head + (result.tail + log.tail), lanes);
        });
    }
};

template <class S>
void cumulate_row(const Row &row, const Context &) {
    Scan scan;
    double x[scan_block + 64], y[scan_block + 64] = {};  // with room for whole vectors
    for (size_t begin = 0; begin < row.length; begin += scan_block) {
        const size_t count = row.length - begin < scan_block ? row.length - begin : scan_block;
        const ptrdiff_t at = static_cast<ptrdiff_t>(begin);
        gather<S, double>(row.x + at * row.x_step, row.x_step, x, count);
        for (size_t i = 0; row.where && i < count; ++i)
            if (!row.where[static_cast<ptrdiff_t>(begin + i) * row.where_step]) x[i] = -Scan::infinity;
        scan.absorb(x, count, y);
        scatter<S, double>(y, row.y + at * row.y_step, row.y_step, count);
    }
}

}  // namespace stablesoftmax::LEVEL
