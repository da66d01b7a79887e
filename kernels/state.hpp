// What a sweep over a row leaves behind, how parts of a row merge, and how a row is finished.
//
// A sum runs over slots: slot j holds the elements j, j + W, j + 2W, ... of a block, W the lanes of
// the level. Slots are folded by halving, blocks are merged in order. That order is the same
// whether the lanes run along a row or across columns, so a row has the same bits either way.
#pragma once

#include <limits>

#include "exponential.hpp"

namespace stablesoftmax::LEVEL {

constexpr size_t block_size = 4096;  // elements; a multiple of every W

// A running sum, in scalars (X = double) or in double lanes (X = Vector<double>). Of float32 terms
// a double is wide enough; of float64 terms the sum is a pair.
template <class T, class X>
struct Sum;

template <class X>
struct Sum<float, X> {
    X head;
    INLINE X tail() const { return X{}; }
};

template <class X>
struct Sum<double, X> {
    X head, rest;
    INLINE X tail() const { return rest; }
};

template <class X>
INLINE Sum<float, X> operator+(Sum<float, X> a, Sum<float, X> b) {
    return {a.head + b.head};
}

template <class X>
INLINE Sum<double, X> operator+(Sum<double, X> a, Sum<double, X> b) {
    X head = a.head + b.head;
    X part = head - a.head;
    X error = (a.head - (head - part)) + (b.head - part);
    return {head, (a.rest + b.rest) + error};
}

template <class Item>
INLINE Item fold(Item *slots, size_t count) {
    for (size_t half = count / 2; half > 0; half /= 2)
        for (size_t j = 0; j < half; ++j) slots[j] = slots[j] + slots[j + half];
    return slots[0];
}

// One slot a lane.
template <class T>
struct Accumulator;

template <>
struct Accumulator<float> {
    Vector<double> low{}, high{};
    Vector<float> residual{};

    INLINE void add(Vector<float> v) {
        Wide w = widen(v);
        low += w.low;
        high += w.high;
    }
    // 2^-25 of the terms: float lanes hold their sum well enough over a block.
    INLINE void add_residual(Vector<float> v) { residual += v; }

    INLINE Wide total() const {
        Wide w = widen(residual);
        return {low + w.low, high + w.high};
    }
    INLINE Sum<float, double> along() const {
        Sum<float, double> slots[Lanes<float>::count];
        Wide sum = total();
        store(&slots[0].head, sum.low);
        store(&slots[Lanes<double>::count].head, sum.high);
        return fold(slots, Lanes<float>::count);
    }
};

template <>
struct Accumulator<double> {
    Vector<double> head{}, rest{};

    INLINE void add(Vector<double> v) {
        Pair<double> sum = two_sum<double>(head, v);
        head = sum.head;
        rest += sum.tail;
    }
    INLINE void add_residual(Vector<double> v) { rest += v; }

    INLINE Sum<double, double> along() const {
        Sum<double, double> slots[Lanes<double>::count];
        for (size_t j = 0; j < Lanes<double>::count; ++j) slots[j] = {head[j], rest[j]};
        return fold(slots, Lanes<double>::count);
    }
};

template <class T>
struct Limits;

template <>
struct Limits<float> {
    static constexpr float guard = 27;        // the guessed maximum is put at 2^guard ...
    static constexpr float headroom = 55;     // ... so the true one may lie this far above it,
    static constexpr double ceiling = 0x1p112;  // and the sum below this
    static constexpr float exact = 256;       // up to here exp needs no center (algorithm: exact shift)
    static constexpr float spread = 64;       // max - min up to which no result can be subnormal
    static constexpr double dominated = 0x1p-16;
    static constexpr float smallest_normal = 0x1p-126f, subnormal_places = 0x1p23f;
    static constexpr float units_high = 0x1p75f, units_low = 0x1p74f;  // 1 / smallest subnormal
};

template <>
struct Limits<double> {
    static constexpr double guard = 57;
    static constexpr double headroom = 640;
    static constexpr double ceiling = 0x1p990;
    static constexpr double exact = 2048;
    static constexpr double spread = 680;
    static constexpr double dominated = 0x1p-30;
    static constexpr double smallest_normal = 0x1p-1022, subnormal_places = 0x1p52;
    static constexpr double units_high = 0x1p537, units_low = 0x1p537;
};

// The shift that puts `guess` at 2^guard. Elements within 104 (745 in float64) below the maximum
// matter; if |guess| > exact they lie within a factor of two of it, and x - guess is exact
// (Sterbenz). Below, x itself is reduced.
template <class T>
INLINE Shift<T> shift_at(Vector<T> guess) {
    Vector<T> size = guess < 0 ? -guess : guess;
    Bits<T> near = size <= Limits<T>::exact;
    Vector<T> center = near ? Vector<T>{} : guess;
    Vector<T> whole = near ? guess * Reduction<T>::log2e : Vector<T>{};
    constexpr T magic = sizeof(T) == 4 ? T(0x1.8p23) : T(0x1.8p52);
    return {center, ((whole + magic) - magic) - Limits<T>::guard};
}

// A finite element, or 0 where it is not finite.
template <class T>
INLINE Vector<T> finite_or_zero(Vector<T> x) {
    return x - x == 0 ? x : Vector<T>{};
}

// The sum of a row, or of a part of one.
template <class T>
struct Partial {
    T max = -std::numeric_limits<T>::infinity();
    T min = std::numeric_limits<T>::infinity();
    Sum<T, double> sum{};
};

template <class T>
INLINE Partial<T> merge(Partial<T> a, Partial<T> b) {
    return {a.max > b.max ? a.max : b.max, a.min < b.min ? a.min : b.min, a.sum + b.sum};
}

// Whether a sum taken at `guess` can be trusted. A NaN in the row, or an infinity, shows in `total`.
template <class T>
INLINE Bits<T> trusted(Vector<T> max, Vector<T> guess, Vector<T> total) {
    Vector<T> above = max - guess;
    return (above >= 0) & (above <= Limits<T>::headroom) & (total < T(Limits<T>::ceiling));
}

// ---------------------------------------------------------------------------------------------
// Finishing. All in double lanes, whatever T.

// 1 / sum = (head + tail)·down with down a power of two and 1/2 < head <= 1.
struct Reciprocal {
    Vector<double> head, tail, down;
};

INLINE Reciprocal reciprocal(Vector<double> sum, Vector<double> rest) {
    Bits<double> exponent = bits_of<double>(sum) & 0x7ff0000000000000;
    Vector<double> down = from_bits<double>(0x7fe0000000000000 - exponent);
    Vector<double> mantissa = sum * down, mantissa_rest = rest * down;
    Vector<double> head = 1 / mantissa;
    Pair<double> back = two_product<double>(head, mantissa);
    Vector<double> missing = (1 - back.head) - back.tail - head * mantissa_rest;
    return {head, head * missing, down};
}

// log1p of (others / top), where top + top_rest is the exponential of a maximum.
INLINE Pair<double> log1p_ratio(Vector<double> others, Vector<double> others_rest,
                                  Vector<double> top, Vector<double> top_rest) {
    Vector<double> quotient = others / top;
    Pair<double> back = two_product<double>(quotient, top);
    Vector<double> missing = (others - back.head) - back.tail + others_rest - quotient * top_rest;
    return log1p(quotient, missing / top);
}

// The sum without the maximum's own term. Right to the last place of others where it is not far
// smaller than the sum; where it is (`dominated`), the caller sums anew without that term:
// [0, -40] would leave 0 of 4.2e-18.
template <class T>
struct Others {
    Vector<double> head, rest;
    Bits<double> dominated;
};

template <class T>
INLINE Others<T> others_of(Sum<T, Vector<double>> sum, Vector<double> top, Vector<double> top_rest) {
    Pair<double> difference = two_sum<double>(sum.head, -top);
    Vector<double> rest = difference.tail + (sum.tail() - top_rest);
    Vector<double> head = difference.head + rest;
    rest = (difference.head - head) + rest;
    return {head, rest, head < top * Limits<T>::dominated};
}

}  // namespace stablesoftmax::LEVEL
