// From the sums of a row to its results: the reciprocal for softmax, log1p(r) for the logarithms.
//
// Computed in double lanes, whatever T; applied in lanes of T.
#pragma once

#include "state.hpp"

namespace stablesoftmax::LEVEL {

// 1 / sum = (head + tail)·down, down a power of two and 1/2 <= head <= 1.
struct Reciprocal {
    Vector<double> head, tail, down;
};

INLINE Vector<double> power_below(Vector<double> sum) {
    return from_bits<double>(0x7fe0000000000000 - (bits_of<double>(sum) & 0x7ff0000000000000));
}

// Of a sum that a double holds, head rounded to a multiple of 2^-23 for float lanes.
INLINE Reciprocal reciprocal(Sum<float, Vector<double>> sum) {
    Vector<double> down = power_below(sum.head);
    Vector<double> all = 1 / (sum.head * down);
    Vector<double> head = (all + 0x1.8p29) - 0x1.8p29;
    return {head, all - head, down};
}

INLINE Reciprocal reciprocal(Sum<double, Vector<double>> sum) {
    Vector<double> down = power_below(sum.head);
    Vector<double> mantissa = sum.head * down, mantissa_rest = sum.rest * down;
    Vector<double> head = 1 / mantissa;
    Pair<double> back = two_product<double>(head, mantissa);
    Vector<double> missing = (1 - back.head) - back.tail - head * mantissa_rest;
    return {head, head * missing, down};
}

// (others + others_rest) / (top + top_rest).
INLINE Pair<double> quotient(Vector<double> others, Vector<double> others_rest,
                             Vector<double> top, Vector<double> top_rest) {
    Vector<double> head = others / top;
    Pair<double> back = two_product<double>(head, top);
    Vector<double> missing = (others - back.head) - back.tail + others_rest - head * top_rest;
    return {head, missing / top};
}

// log1p of (others / top), where top + top_rest is the exponential of a maximum.
INLINE Pair<double> log1p_ratio(Vector<double> others, Vector<double> others_rest,
                                Vector<double> top, Vector<double> top_rest) {
    Pair<double> ratio = quotient(others, others_rest, top, top_rest);
    return log1p(ratio.head, ratio.tail);
}

// others and top of one row, each with what its rounding left.
struct Ratio {
    double others, others_rest, top, top_rest;
};

// The sum without the maximum's own term. Right to the last place of others where it is not far
// smaller than the sum; where it is (`dominated`), the caller sums anew without that term:
// [0, -40] would leave 0 of 4.2e-18. Coarse sums are right to 2^-21.
template <class T>
struct Others {
    Vector<double> head, rest;
    Bits<double> dominated;
};

template <bool coarse, class T>
INLINE Others<T> others_of(Sum<T, Vector<double>> sum, Vector<double> top, Vector<double> top_rest) {
    constexpr double limit = coarse ? Limits<float>::coarsely_dominated : Limits<T>::dominated;
    Pair<double> difference = two_sum<double>(sum.head, -top);
    Vector<double> rest = difference.tail + (sum.tail() - top_rest);
    Vector<double> head = difference.head + rest;
    rest = (difference.head - head) + rest;
    return {head, rest, head < top * limit};
}

// A sum without the maximum's term, taken `others_guard` binades higher.
template <class T>
INLINE Others<T> lowered(Sum<T, Vector<double>> sum) {
    constexpr double down = sizeof(T) == 4 ? 0x1p-27 : 0x1p-60;
    return {sum.head * down, sum.tail() * down, Bits<double>{}};
}

INLINE Vector<double> low_half(Vector<float> v) { return widen(v).low; }
INLINE Vector<double> low_half(Vector<double> v) { return v; }

// 1 / sum for the lanes of T: p = (e·head + e·tail)·down.
template <class T>
struct Factor {
    Vector<T> head, tail, down;
};

INLINE Factor<double> factor_of(Sum<double, Vector<double>> sum) {
    Reciprocal r = reciprocal(sum);
    return {r.head, r.tail, r.down};
}

INLINE Factor<float> factor_of(Sum<float, Vector<double>> low, Sum<float, Vector<double>> high) {
    Reciprocal a = reciprocal(low), b = reciprocal(high);
    return {narrow({a.head, b.head}), narrow({a.tail, b.tail}), narrow({a.down, b.down})};
}

INLINE Factor<float> factor_of(Sum<float, Vector<double>> sum) { return factor_of(sum, sum); }

// e / sum, short of the power of two.
template <bool coarse, class T>
INLINE Vector<T> product(Vector<T> e, Factor<T> f) {
    if constexpr (coarse) {
        return e * f.head;
    } else if constexpr (has_fma) {
        return multiply_add(e, f.head, e * f.tail);
    } else {
        Pair<T> p = two_product<T>(e, f.head);
        return p.head + (p.tail + e * f.tail);
    }
}

// The power of two taken in: for products none of whose parts is subnormal.
template <class T>
INLINE Factor<T> complete(Factor<T> f) {
    return {f.head * f.down, f.tail * f.down, broadcast<T>(1)};
}

// e / sum where results may be subnormal, without arithmetic on subnormals (a microcode assist
// each): those are rounded to whole multiples of the smallest one, which are their own bits.
template <bool coarse, class T>
INLINE Vector<T> times_carefully(Vector<T> e, Factor<T> f) {
    using L = Limits<T>;
    Vector<T> p = product<coarse, T>(e, f);
    Bits<T> subnormal = p < L::smallest_normal / f.down;
    // 2^149 and 2^1074 are beyond their formats: two steps.
    Vector<T> units = (subnormal ? p : Vector<T>{}) * (f.down * L::units_high * L::units_low);
    Vector<T> magic = broadcast<T>(L::subnormal_places);
    Vector<T> tiny = from_bits<T>(bits_of<T>(units + magic) - bits_of<T>(magic));
    return subnormal ? tiny : (subnormal ? broadcast<T>(1) : p) * f.down;
}

// max + logarithm, so that log p = (x - head) - tail: x - head is exact where it cancels, and
// [0, -40] keeps its -4.2e-18 in the tail.
INLINE Pair<double> normalizer(Vector<double> max, Pair<double> logarithm) {
    Pair<double> sum = two_sum<double>(max, logarithm.head);
    return two_sum<double>(sum.head, sum.tail + logarithm.tail);
}

INLINE Pair<float> normalizer(Wide max, Wide logarithm) {
    Vector<float> head = narrow({max.low + logarithm.low, max.high + logarithm.high});
    Wide back = widen(head);
    return {head, narrow({(max.low - back.low) + logarithm.low, (max.high - back.high) + logarithm.high})};
}

// What stands in a row that has no sum: a NaN, or +inf (`peaks` times), or -inf throughout.
struct Census {
    size_t included = 0, peaks = 0;
    bool has_nan = false;
};

// What its entries get: those that equal `peak` (all of them, with a NaN) `share`, the others nothing.
template <class T>
struct Tie {
    T peak, share;
};

template <Operation op, class T>
Tie<T> tie_of(Census row, Undefined undefined) {
    constexpr T infinity = std::numeric_limits<T>::infinity();
    const bool has_limit = row.peaks == 1;
    const size_t tied = row.peaks ? row.peaks : row.included;
    Tie<T> tie{row.peaks ? infinity : -infinity, 1 / static_cast<T>(tied)};
    if (!has_limit && undefined == Undefined::zero) tie.share = 0;
    if constexpr (op == Operation::log_softmax) {
        const Pair<double> log = log1p(broadcast(static_cast<double>(tied) - 1), Vector<double>{});
        tie.share = tie.share == 0 ? -infinity : 0 - static_cast<T>(log.head[0] + log.tail[0]);
    }
    if (row.has_nan || (!has_limit && undefined == Undefined::nan)) tie.share = std::numeric_limits<T>::quiet_NaN();
    return tie;
}

// The share of each in a row of equal elements: 1 / n, correctly rounded, which [1, 1] gets by no sum of
// rounded exponentials.
template <class T>
INLINE T equal_share(size_t length) {
    return static_cast<T>(1 / static_cast<double>(length));
}

// How far above n·exp(x) a sum of n equal exponentials may come out, with rounding to spare.
constexpr float nearly_equal = 1.001f;

}  // namespace stablesoftmax::LEVEL
